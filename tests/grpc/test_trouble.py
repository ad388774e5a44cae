"""What callers get while the server is slow, overloaded, broken or stopping."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync.storage.reader import MAX_READS
from mentorsync.time_limits import DRAIN_SECONDS

from tests.grpc_client import CALL_SECONDS, SERVICE, Connect, failure, key, submit
from tests.server_process import Database, ServerProcess, WriteLock

MENTOR_ID = "mntr_01HX4V2K8P"
QUEUE_BOUND = 1_024
QUEUE_CONNECTIONS = 8  # that fill the queue together: Envoy takes 200 calls at once on one connection
BURST = 3_000
SERVING = health_pb2.HealthCheckResponse.SERVING
GIVEN_UP = ("CANCELLED", "DEADLINE_EXCEEDED", "DR")
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def server(start_each: Callable[[], ServerProcess]) -> ServerProcess:
    """A server that only this test uses."""
    return start_each()


async def total(stub: MentorStatusSyncStub) -> int:
    page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(limit=1), timeout=CALL_SECONDS)
    return page.pagination.total


async def health_changes(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async for change in stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CALL_SECONDS):
        yield change.status


async def test_a_write_whose_deadline_passes_in_the_queue_is_dropped(
    stub: MentorStatusSyncStub, server: ServerProcess, database: Database
) -> None:
    """The caller gets DEADLINE_EXCEEDED. The write is not carried out, because no batch had taken it yet."""
    with WriteLock(database) as lock:
        taken = asyncio.ensure_future(stub.SubmitEvent(submit(MENTOR_ID), **key("taken")))
        await asyncio.to_thread(server.wait_for_queue, 1)
        late = stub.SubmitEvent(
            submit(MENTOR_ID),
            metadata=(("idempotency-key", "late"), ("x-request-id", "late")),
            timeout=0.1,
        )
        assert (await failure(late)).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await asyncio.to_thread(server.call_line, "late"))["code"] in GIVEN_UP
        lock.release()
        assert (await taken).accepted
    assert await total(stub) == 1
    await stub.SubmitEvent(submit(MENTOR_ID), **key("late"))
    assert await total(stub) == 2


async def test_reads_do_not_wait_for_writes(stub: MentorStatusSyncStub, database: Database) -> None:
    """Lists and snapshots are answered while a write waits for the database."""
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    with WriteLock(database) as lock:
        waiting = asyncio.ensure_future(stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS))
        assert await total(stub) == 1
        snapshot = await stub.GetMentorStatus(pb.GetMentorStatusRequest(mentor_id=MENTOR_ID), timeout=CALL_SECONDS)
        assert snapshot.status == pb.paused
        lock.release()
        await waiting


async def test_a_full_queue_refuses_further_writes(
    stub: MentorStatusSyncStub, connect: Connect, server: ServerProcess, database: Database
) -> None:
    """UNAVAILABLE, OVERLOADED, with RetryInfo and retry-after. Every write in the queue is carried out once."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connect(server.grpc)) for _ in range(QUEUE_CONNECTIONS)]
        await fill_queue([MentorStatusSyncStub(channel) for channel in channels], server, database)
    assert await total(stub) == QUEUE_BOUND


async def fill_queue(stubs: list[MentorStatusSyncStub], server: ServerProcess, database: Database) -> None:
    with WriteLock(database) as lock:
        calls = [
            asyncio.ensure_future(stubs[number % QUEUE_CONNECTIONS].SubmitEvent(submit(MENTOR_ID), **key(str(number))))
            for number in range(QUEUE_BOUND)
        ]
        await asyncio.to_thread(server.wait_for_queue, QUEUE_BOUND)
        refused = await failure(stubs[0].SubmitEvent(submit(MENTOR_ID), **key("too-much")))
        lock.release()
        answers = await asyncio.gather(*calls)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert refused.details["RetryInfo"].retry_delay.seconds == 1
    assert refused.metadata["retry-after"] == "1"
    assert len({answer.sync_event_id for answer in answers}) == QUEUE_BOUND


async def test_every_call_of_a_burst_is_answered(stub: MentorStatusSyncStub) -> None:
    """However many calls arrive together, grpcio refuses none. Those above the service's bound may be repeated."""
    calls = [stub.ListSyncEvents(pb.ListSyncEventsRequest(), timeout=CALL_SECONDS) for _ in range(BURST)]
    codes = Counter([await call.code() for call in calls])
    assert codes.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes[grpc.StatusCode.OK] >= MAX_READS


async def test_the_server_recovers_from_a_broken_database(
    channel: grpc.aio.Channel, stub: MentorStatusSyncStub, server: ServerProcess, database: Database
) -> None:
    """Calls get UNAVAILABLE, STORAGE_UNAVAILABLE and the health is NOT_SERVING until the database works again."""
    changes = health_changes(channel)
    assert await anext(changes) == SERVING
    database.execute("ALTER TABLE log RENAME TO renamed")
    assert await anext(changes) == NOT_SERVING
    list_request = pb.ListSyncEventsRequest()
    for call in (
        stub.SubmitEvent(submit(MENTOR_ID), **key("k")),
        stub.ListSyncEvents(list_request, timeout=CALL_SECONDS),
    ):
        failed = await failure(call)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
        assert failed.details["RetryInfo"].retry_delay.seconds == 1
        assert failed.metadata["retry-after"] == "1"
        assert "log" not in failed.message
    database.execute("ALTER TABLE renamed RENAME TO log")
    assert await anext(changes) == SERVING
    assert (await stub.SubmitEvent(submit(MENTOR_ID), **key("k"))).accepted
    assert await total(stub) == 1
    assert any("no such table" in line["event"] for line in server.log_lines() if line["level"] == "error")


async def test_an_unexpected_error_is_logged_in_full_and_hidden_from_the_caller(
    stub: MentorStatusSyncStub, server: ServerProcess, database: Database
) -> None:
    """INTERNAL. The log has the traceback and the request id; the caller gets no details."""
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    database.execute("UPDATE mentors SET status = 77")
    call = stub.GetMentorStatus(
        pb.GetMentorStatusRequest(mentor_id=MENTOR_ID), metadata=(("x-request-id", "broken"),), timeout=CALL_SECONDS
    )
    failed = await failure(call)
    assert (failed.code, failed.reason, failed.message) == (grpc.StatusCode.INTERNAL, "INTERNAL", "internal error")
    assert "77" not in str(failed)
    server.wait_for_line("broken", lambda line: "ValueError: 77" in line.get("traceback", ""))
    assert await total(stub) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopping_server_finishes_accepted_calls(
    stub: MentorStatusSyncStub, connect: Connect, server: ServerProcess, database: Database, number: signal.Signals
) -> None:
    """It refuses new connections, answers the accepted calls, and ends with status 0. Their writes are stored."""
    with WriteLock(database) as lock:
        accepted = asyncio.ensure_future(stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS))
        await asyncio.to_thread(server.wait_for_queue, 1)
        server.signal(number)
        await asyncio.to_thread(server.wait_until_refusing)
        async with connect(server.grpc) as channel:
            refused = MentorStatusSyncStub(channel).SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
            assert (await failure(refused)).code is grpc.StatusCode.UNAVAILABLE
        lock.release()
        answer = await accepted
    assert await asyncio.to_thread(server.end) == 0
    assert [line["event"] for line in server.log_lines() if "stop" in line["event"]]
    assert database.execute("SELECT sync_event_id FROM events") == [(answer.sync_event_id,)]


async def test_a_health_watch_does_not_delay_the_stop(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    """The watch ends, so the server does not wait for it until the end of the drain time."""
    changes = health_changes(channel)
    assert await anext(changes) == SERVING
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    try:
        assert await anext(changes) == NOT_SERVING
    except grpc.aio.AioRpcError as error:  # Envoy has ended, and with it the connection
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - one of two ways to end a watch
    assert await asyncio.to_thread(server.end) == 0
    assert time.monotonic() - started < DRAIN_SECONDS
