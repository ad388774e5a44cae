"""The relay of a child's output: whole lines, held back during a start, and independent of who waits for it."""

import asyncio
import os

from mentorsync.supervisor.pipe import Pipe
from mentorsync.supervisor.relay import Relay


async def test_lines_are_passed_on_whole() -> None:
    """A chunk may end within a line; a last line without its end gets one."""
    written: list[bytes] = []
    relay, pipe = Relay(written.append), Pipe()
    relay.follow(pipe)
    os.write(pipe.writing, b"first\nsec")
    while not written:
        await asyncio.sleep(0)
    os.write(pipe.writing, b"ond\nthird")
    pipe.close_writing()
    await relay.finish()
    assert written == [b"first\n", b"second\n", b"third\n"]


async def test_lines_of_a_start_are_held_back() -> None:
    """They are remembered without the JSON around them, and passed on when the start has succeeded."""
    written: list[bytes] = []
    relay, pipe = Relay(written.append, holds_back=True), Pipe()
    relay.follow(pipe)
    os.write(pipe.writing, b'plain\n{"event": "in JSON"}\n')
    pipe.close_writing()
    await relay.finish()
    assert not written
    assert relay.last_messages() == ["plain", "in JSON"]
    relay.release()
    assert b"".join(written) == b'plain\n{"event": "in JSON"}\n'


async def test_a_cancelled_wait_leaves_the_relay_running() -> None:
    """A stop that reaches its deadline kills the child and then waits for the rest of its output."""
    written: list[bytes] = []
    relay, pipe = Relay(written.append), Pipe()
    relay.follow(pipe)
    waiting = asyncio.create_task(relay.finish())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    os.write(pipe.writing, b"last\n")
    pipe.close_writing()
    await relay.finish()
    assert written == [b"last\n"]
