"""Log lines for people: the JSON lines as text, for a terminal. Times stay in UTC."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

RED, YELLOW, GREY, RESET = "\x1b[31m", "\x1b[33m", "\x1b[90m", "\x1b[0m"
LEVEL_COLOURS = {"warning": YELLOW, "error": RED, "critical": RED}
BAD_STATUS = 400
# Every line has these, or they are shown without their name.
UNNAMED = {"time", "level", "logger", "pid", "event", "traceback"}

Render = Callable[[bytes], bytes]


def choose(log_format: str, descriptor: int) -> Render | None:
    """What turns the JSON lines for a descriptor into text. None if they stay JSON.

    `log_format` is a value of the setting: "auto" means text on a terminal and JSON elsewhere.
    """
    is_terminal = os.isatty(descriptor)
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        return None
    has_colour = is_terminal and "NO_COLOR" not in os.environ  # see https://no-color.org
    return lambda lines: render(lines, has_colour=has_colour)


def render(lines: bytes, *, has_colour: bool) -> bytes:
    """Lines as text, each with its line feed. A line that is not a JSON log line stays as it is."""
    shown = []
    for encoded in lines.splitlines():  # as bytes: text would be split at U+2028 and others, which callers may send
        line = encoded.decode(errors="replace")
        fields = _fields(line)
        shown.append(line if fields is None else _text(fields, has_colour))
    return "".join(f"{line}\n" for line in shown).encode(errors="backslashreplace")


def _fields(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if {"time", "level", "event"} <= fields.keys() else None


def _text(fields: Mapping[str, Any], has_colour: bool) -> str:
    level = str(fields["level"])
    time = str(fields["time"])[11:23]
    message, *rows = f"{_message(fields)}\n{fields.get('traceback', '')}".split("\n")
    line = f"{time} {level:7} {_printable(message)}"
    colour = LEVEL_COLOURS.get(level) or (YELLOW if _is_refused(fields) else "")
    if has_colour:
        line = f"{GREY}{time}{RESET} {colour}{line[len(time) + 1 :]}{RESET if colour else ''}"
    return line + "".join(f"\n    {_printable(row)}" for row in rows if row)


def _printable(text: str) -> str:
    """The text with escapes for all that could end a line or command the terminal: callers choose a part of it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _message(fields: Mapping[str, Any]) -> str:
    """What happened: method, path, status and duration of a request, or the event with its other fields."""
    if fields["event"] == "request":
        text = f"{fields.get('method')} {fields.get('path')} {fields.get('status')} {fields.get('duration_ms')} ms"
    elif fields["event"] == "call" and "path" in fields:
        text = f"gRPC {fields['path']} {fields.get('grpc_status')} {fields.get('duration_ms')} ms"
    elif fields["event"] == "call":
        text = f"{fields.get('method')} {fields.get('code')} {fields.get('duration_ms')} ms"
    else:
        named = [f"{name}={value}" for name, value in fields.items() if name not in UNNAMED]
        return " ".join([str(fields["event"]), *named])
    if _is_refused(fields):
        text += f" request_id={fields.get('request_id')}"
        text += f" details={fields['details']}" if fields.get("details") else ""
    return text


def _is_refused(fields: Mapping[str, Any]) -> bool:
    """Whether the caller got an error."""
    if fields["event"] == "request":
        status = fields.get("status")
        return not isinstance(status, int) or not 0 < status < BAD_STATUS
    return fields["event"] == "call" and (fields.get("grpc_status") or fields.get("code")) not in ("OK", 0, "0")
