"""Passes the output of a child process on, in whole lines, and remembers the last of them."""

import asyncio
import json
from collections.abc import Callable

from mentorsync.supervisor.pipe import PIPE_BYTES, Pipe

GATHER_SECONDS = 0.05  # lines may be this late; passed on together they cost less than one by one
REMEMBERED_BYTES = 262_144  # more than a start prints

Write = Callable[[bytes], object]


class Relay:
    """Always reads the pipes of one child, and hands whole lines to `write`, which must not block.

    With `holds_back`, lines wait until `release`: if a start fails, only the cause is printed.
    """

    def __init__(self, write: Write, *, holds_back: bool = False) -> None:
        self._write = write
        self._holds_back = holds_back
        self._last = b""
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, source: Pipe) -> None:
        """Relays a pipe until its end, then closes it."""
        self._tasks.append(asyncio.create_task(self._copy(source)))

    def release(self) -> None:
        """Passes on what was held back, and from now on everything at once."""
        if self._holds_back:
            self._holds_back = False
            self._write(self._last)

    async def finish(self) -> None:
        """Waits for the end of all pipes. A caller that is cancelled leaves the relay running."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def last_messages(self) -> list[str]:
        """The last lines, oldest first, each without the JSON around it."""
        return [_message(line) for line in self._last.decode(errors="replace").splitlines()]

    async def _copy(self, source: Pipe) -> None:
        rest = b""
        while chunk := await source.read():
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                self._pass_on(lines + newline)
            if len(chunk) < PIPE_BYTES // 2:  # a fuller pipe is read again at once: the child may be blocked
                await asyncio.sleep(GATHER_SECONDS)
        if rest:
            self._pass_on(rest + b"\n")
        source.close()

    def _pass_on(self, lines: bytes) -> None:
        if self._holds_back:
            self._last = _tail(self._last + lines)
        else:
            self._last = lines
            self._write(lines)


def _tail(lines: bytes) -> bytes:
    """The last whole lines, up to the bound."""
    if len(lines) <= REMEMBERED_BYTES:
        return lines
    return lines[-REMEMBERED_BYTES:].partition(b"\n")[2]


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line
