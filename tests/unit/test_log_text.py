"""Log lines for people: the JSON lines of every part as text."""

import json
import os
import pty
from collections.abc import Callable, Iterator

import pytest
from mentorsync import log_text
from mentorsync.log_text import GREY, RED, RESET, YELLOW, render

START = {"time": "2026-11-24T08:00:00.123Z", "level": "info", "logger": "x", "pid": 7}
REQUEST = START | {"event": "request", "method": "GET", "path": "/list", "status": 200, "duration_ms": 3, "details": ""}
REFUSED = REQUEST | {"status": 404, "request_id": "r-1", "details": "direct_response"}
CALL = START | {"event": "call", "method": "SubmitEvent", "code": "OK", "duration_ms": 1.5, "request_id": "r-1"}
GRPC = START | {"event": "call", "path": "/mentorstatus.v1.X/Y", "grpc_status": "OK", "duration_ms": 2}
PLAIN = {
    "a request": (REQUEST, "08:00:00.123 info    GET /list 200 3 ms"),
    "a refused request": (REFUSED, "08:00:00.123 info    GET /list 404 3 ms request_id=r-1 details=direct_response"),
    "a request without an answer": (
        REFUSED | {"status": 0, "details": "reset"},
        "08:00:00.123 info    GET /list 0 3 ms request_id=r-1 details=reset",
    ),
    "a call": (CALL, "08:00:00.123 info    SubmitEvent OK 1.5 ms"),
    "a failed call": (CALL | {"code": "NOT_FOUND"}, "08:00:00.123 info    SubmitEvent NOT_FOUND 1.5 ms request_id=r-1"),
    "a gRPC call": (GRPC, "08:00:00.123 info    gRPC /mentorstatus.v1.X/Y OK 2 ms"),
    "an event": (START | {"event": "stopping"}, "08:00:00.123 info    stopping"),
    "an event with more fields": (
        START | {"event": "stopping", "seconds": 2},
        "08:00:00.123 info    stopping seconds=2",
    ),
    "an event of many lines": (START | {"event": "failed:\nTraceback"}, "08:00:00.123 info    failed:\n    Traceback"),
    "a traceback": (
        START | {"level": "error", "event": "failed", "traceback": "Traceback:\n  line"},
        "08:00:00.123 error   failed\n    Traceback:\n      line",
    ),
}


@pytest.fixture
def terminal() -> Iterator[int]:
    """A terminal's descriptor."""
    controller, descriptor = pty.openpty()
    yield descriptor
    os.close(descriptor)
    os.close(controller)


def as_line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def plain(lines: bytes) -> str:
    return render(lines, has_colour=False).decode()


@pytest.mark.parametrize("name", PLAIN)
def test_a_line_shows_what_happened(name: str) -> None:
    """Time, level, method, path, status and duration; for an error also what is needed to look for it."""
    fields, text = PLAIN[name]
    assert plain(as_line(fields)) == f"{text}\n"


@pytest.mark.parametrize("line", ["mentorsync: stopping", "{not JSON", '{"event":"ready"}', "[1]", ""])
def test_a_line_of_another_kind_stays_as_it_is(line: str) -> None:
    assert plain(f"{line}\n".encode()) == f"{line}\n"


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\x85", "\u2028", "\x0b", "\x1c", "\r", "\n", "\u202e"])
@pytest.mark.parametrize("as_json", [json.dumps, lambda fields: json.dumps(fields, ensure_ascii=False)])
def test_text_of_a_caller_neither_begins_a_line_nor_commands_the_terminal(
    character: str, as_json: Callable[[object], str]
) -> None:
    """Envoy writes all characters but ASCII controls into its JSON as they are."""
    request = REFUSED | {"request_id": f"r{character}forged"}
    failure = START | {"event": "failed", "field": f"r{character}forged", "traceback": f"Error: r{character}forged"}
    text = plain("".join(as_json(fields) + "\n" for fields in (request, failure)).encode())
    assert all(line.isprintable() for line in text.split("\n"))
    assert [line for line in text.split("\n") if line.startswith("forged")] == []


def test_bytes_that_are_no_text_do_not_stop_the_log() -> None:
    assert plain(b"\xff\n" + as_line(CALL)).count("\n") == 2


@pytest.mark.parametrize(
    ("fields", "colour"),
    [(START | {"level": "warning", "event": "x"}, YELLOW), (START | {"level": "error", "event": "x"}, RED)],
)
def test_colour_shows_severity(fields: dict[str, object], colour: str) -> None:
    text = render(as_line(fields), has_colour=True).decode()
    assert text == f"{GREY}08:00:00.123{RESET} {colour}{fields['level']:7} x{RESET}\n"


def test_auto_means_text_on_a_terminal_and_json_elsewhere(terminal: int) -> None:
    with open(os.devnull, "wb") as file:  # noqa: PTH123 - it is not a path of ours
        assert log_text.choose("auto", file.fileno()) is None
        assert log_text.choose("text", file.fileno())
    assert log_text.choose("auto", terminal)
    assert log_text.choose("json", terminal) is None


@pytest.mark.parametrize("no_color", [True, False])
def test_colour_is_for_terminals_alone(terminal: int, monkeypatch: pytest.MonkeyPatch, *, no_color: bool) -> None:
    """Neither a file nor a terminal whose user set NO_COLOR gets it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    on_terminal = log_text.choose("text", terminal)
    assert on_terminal
    assert (b"\x1b" in on_terminal(as_line(REQUEST))) is not no_color
    with open(os.devnull, "wb") as file:  # noqa: PTH123 - as above
        in_file = log_text.choose("text", file.fileno())
        assert in_file
        assert b"\x1b" not in in_file(as_line(REQUEST))
