"""A stop with open streams: each is told to come back, and none holds the stop up."""

import asyncio
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from mentorsync.time_limits import END_SECONDS, STOP_SECONDS

from tests.contract import BASE
from tests.faults.callers import SUBMIT
from tests.feed.receivers import Receiver, all_steps, sse, steps_until, watch
from tests.feed.stalled import fill, stalled_receiver
from tests.grpc_client import Connect
from tests.server_process import Database, WriteLock, wait_until
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


def test_a_receiver_that_does_not_read_does_not_hold_up_a_stop(database: Database, tmp_path: Path) -> None:
    """Its stream cannot be told to end, and it can resume it elsewhere."""
    database.migrate()
    fill(database.url)
    up = UpProcess(database, tmp_path / "up.log", ())
    try:
        with stream_that_stalls(up):
            started = time.monotonic()
            up.signal(signal.SIGTERM)
            assert up.end() == 0
            assert time.monotonic() - started < HELD_UP_SECONDS
    finally:
        up.kill()


def test_a_stop_with_a_receiver_that_does_not_read_waits_for_calls(database: Database, tmp_path: Path) -> None:
    """The stream is not taken for the call, nor the call for the stream: a call that waits gets its answer."""
    database.migrate()
    fill(database.url)
    up = UpProcess(database, tmp_path / "up.log", ())
    try:
        with stream_that_stalls(up), ThreadPoolExecutor(1) as pool, WriteLock(database):
            answer = pool.submit(httpx.post, f"{up.url}{BASE}/events", content=SUBMIT, timeout=20)
            wait_until(lambda: up.metric("mentorsync_write_queue_depth") == 1, "a queued write")
            up.signal(signal.SIGTERM)
            assert answer.result().status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert up.end() == 0
    finally:
        up.kill()


@contextmanager
def stream_that_stalls(up: UpProcess) -> Iterator[None]:
    host, _, port = up.url.removeprefix("http://").rpartition(":")
    with stalled_receiver((host, int(port))):
        wait_until(lambda: up.metric("mentorsync_feed_streams_stalled") == 1, "a stalled stream")
        yield
