"""A stop with open streams: each is told to come back, and none holds the stop up."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mentorsync.time_limits import END_SECONDS, STOP_SECONDS

from tests.feed.receivers import Receiver, all_steps, sse, steps_until, watch
from tests.grpc_client import Connect
from tests.server_process import Database
from tests.up_process import UpProcess

STREAMS = 20
HELD_UP_SECONDS = STOP_SECONDS - END_SECONDS  # what a stop takes that waits for streams until its time is over


@pytest.mark.parametrize("flags", [(), ("--separate",)], ids=["embedded", "separate"])
async def test_open_streams_are_told_and_do_not_hold_up_a_stop(
    database: Database, tmp_path: Path, connect: Connect, flags: tuple[str, ...]
) -> None:
    """Over both transports, the last thing that comes is GOING_AWAY, and the stop is as quick as without them."""
    up = UpProcess(database, tmp_path / "up.log", flags, streams_per_address=str(2 * STREAMS))
    try:
        async with AsyncExitStack() as stack:
            channel = await stack.enter_async_context(connect(up.announced["gRPC"]))
            opened: list[Receiver] = []
            for _ in range(STREAMS):
                opened.append(await stack.enter_async_context(sse(up.url)))
                opened.append(await stack.enter_async_context(watch(channel)))
            for receiver in opened:
                await steps_until(receiver, "current")
            started = time.monotonic()
            up.signal(signal.SIGTERM)
            ends = await asyncio.gather(*(all_steps(receiver) for receiver in opened))
            assert [steps[-1].kind for steps in ends] == ["going-away"] * 2 * STREAMS
            assert await asyncio.to_thread(up.end) == 0
            assert time.monotonic() - started < HELD_UP_SECONDS
    finally:
        up.signal(signal.SIGKILL)
    assert up.messages() == ["SIGTERM: stopping; a second signal kills everything at once"]
