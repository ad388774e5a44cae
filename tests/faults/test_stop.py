"""How `mentorsync up` stops, in both modes: under load, when it is forced, and when a part hangs."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread

import httpx
import pytest
from mentorsync.time_limits import CLOSE_SECONDS, END_SECONDS, STOP_SECONDS

from tests.contract import BASE
from tests.faults.callers import SUBMIT, Callers, snapshot, submit
from tests.faults.conftest import StartUp
from tests.server_process import Database, WriteLock, wait_until
from tests.up_process import UpProcess, wait_until_gone

CALLERS = 16
ANSWERS_BEFORE_STOP = 200
HELD_UP_SECONDS = STOP_SECONDS - END_SECONDS  # what a stop takes that waits for calls until its time is over
LATE_SECONDS = 5.0  # by which a busy machine may be late
PAUSE_SECONDS = 0.01  # in which the service gets the lock
SLOW_SECONDS = 0.1  # what a submit takes while `slow_writes` runs


@contextmanager
def slow_writes(database: Database) -> Iterator[None]:
    """Another process writes all the time: each of its writes holds up those of the service."""
    is_over = Event()

    def write() -> None:
        with database.connect() as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            while not is_over.is_set():
                connection.execute("BEGIN IMMEDIATE")
                is_over.wait(SLOW_SECONDS)
                connection.execute("ROLLBACK")
                is_over.wait(PAUSE_SECONDS)

    thread = Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


async def load_and_stop(up: UpProcess, request: bytes, answers: int) -> tuple[Callers, float, int]:
    """Stops the service under load. Returns what the callers saw, the seconds until the end, and the exit status."""
    callers = Callers.of(up.url)
    tasks = [asyncio.create_task(callers.call_until_refused(request)) for _ in range(CALLERS)]
    while callers.answers < answers:
        await asyncio.sleep(0.01)
    started = time.monotonic()
    up.signal(signal.SIGTERM)
    status = await asyncio.to_thread(up.end)
    seconds = time.monotonic() - started
    await asyncio.gather(*tasks)
    return callers, seconds, status


async def test_a_stop_under_fast_callers_loses_no_request(start_up: StartUp) -> None:
    """Every caller gets `connection: close`, can connect again for a moment, and no request goes unanswered."""
    callers, seconds, status = await load_and_stop(start_up(), snapshot(), ANSWERS_BEFORE_STOP)
    assert not callers.unanswered
    assert callers.closed > 2 * CALLERS
    assert callers.statuses.keys() == {b"404"}  # a mentor without events
    assert CLOSE_SECONDS < seconds < HELD_UP_SECONDS
    assert status == 0


async def test_a_stop_under_slow_callers_loses_no_request(start_up: StartUp, database: Database) -> None:
    """Calls of 100 ms that never cease do not keep the service from stopping, and each gets its answer."""
    up = start_up()
    with slow_writes(database):
        callers, seconds, status = await load_and_stop(up, submit(), CALLERS)
    assert not callers.unanswered
    assert callers.closed >= CALLERS
    assert callers.statuses.keys() == {b"200"}
    assert database.execute("SELECT count(*) FROM events") == [(callers.answers,)]
    assert CLOSE_SECONDS < seconds < HELD_UP_SECONDS
    assert status == 0


def test_a_call_that_takes_its_whole_time_is_answered(start_up: StartUp, database: Database) -> None:
    """Also when it came just before the stop. All is over when the parts would be killed."""
    up = start_up()
    with ThreadPoolExecutor(1) as pool, WriteLock(database):
        answer = pool.submit(httpx.post, f"{up.url}{BASE}/events", content=SUBMIT, timeout=20)
        wait_until(lambda: up.metric("mentorsync_write_queue_depth") == 1, "a queued write")
        started = time.monotonic()
        up.signal(signal.SIGTERM)
        assert answer.result().status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert up.end() == 0
    assert time.monotonic() - started < STOP_SECONDS + LATE_SECONDS


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_kills_at_once(start_up: StartUp, database: Database, second: signal.Signals) -> None:
    """One line reports it, and the status is that of the signal."""
    up = start_up()
    parts = up.parts
    with ThreadPoolExecutor(1) as pool, WriteLock(database):
        pool.submit(httpx.post, f"{up.url}{BASE}/events", content=SUBMIT, timeout=20)
        wait_until(lambda: up.metric("mentorsync_write_queue_depth") == 1, "a queued write")
        up.signal(signal.SIGINT)
        up.wait_until_unready()
        up.signal(second)
        assert up.end() == 128 + second
    wait_until_gone(parts)
    assert up.messages() == [
        "SIGINT: stopping; a second signal kills everything at once",
        f"{second.name}: a second signal; killing everything; calls in flight get no answer",
    ]


def test_a_part_that_hangs_is_killed(start_up: StartUp) -> None:
    """A frozen Envoy does not keep the service from ending in time. The status and one line report it."""
    up = start_up()
    parts = up.parts
    os.kill(parts[-1], signal.SIGSTOP)
    started = time.monotonic()
    up.signal(signal.SIGTERM)
    assert up.end() == 1
    assert time.monotonic() - started < STOP_SECONDS + LATE_SECONDS
    wait_until_gone(parts)
    _stopping, message = up.messages()
    assert message.endswith(" did not end in time and was killed")


def test_an_idle_connection_does_not_hold_up_the_stop(start_up: StartUp) -> None:
    """A caller that keeps its connection open and sends nothing is not waited for."""
    up = start_up()
    with httpx.Client(base_url=up.url) as client:
        assert client.get(BASE).status_code == httpx.codes.OK
        started = time.monotonic()
        up.signal(signal.SIGTERM)
        assert up.end() == 0
    assert time.monotonic() - started < HELD_UP_SECONDS
