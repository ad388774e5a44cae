"""Passes a child's log on, and remembers how it ended."""

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress

CHUNK_BYTES = 65_536
REMEMBERED_LINES = 20


class Relay:
    """Copies whole lines from a stream to standard error until the stream ends.

    The lines of a start are kept back until `release`: where it fails, one line that says why is worth more.
    """

    def __init__(self, source: asyncio.StreamReader) -> None:
        self._source = source
        self._held: list[str] | None = []
        self._last_lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._task = asyncio.create_task(self._run())

    @property
    def last_messages(self) -> list[str]:
        """What the last lines say, oldest first, each without the JSON around it."""
        return [_message(line) for line in self._last_lines]

    def release(self) -> None:
        """Passes on what was kept back, and from now on everything at once."""
        held, self._held = self._held, None
        for text in held or ():
            _write(text)

    async def finish(self) -> None:
        """Waits for the stream's end."""
        await self._task

    async def _run(self) -> None:
        rest = b""
        while chunk := await self._source.read(CHUNK_BYTES):
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            self._pass_on(lines + newline)
        self._pass_on(rest)

    def _pass_on(self, lines: bytes) -> None:
        text = lines.decode(errors="replace")
        self._last_lines.extend(text.splitlines())
        if self._held is None:
            _write(text)
        else:
            self._held.append(text)


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more; Envoy must not block on its pipe all the same
        sys.stderr.write(text)
        sys.stderr.flush()


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line
