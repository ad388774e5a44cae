"""What the clients repeat: calls that find the service unavailable, and no others. No event is recorded twice."""

import asyncio
from contextlib import ExitStack, aclosing
from typing import Any

import grpc
import pytest
from mentorstatus_client import DeadlineExceededError, EventType, InternalError, SubmittedEvent, UnavailableError

from tests.client.conftest import OpenClient, Restartable, stored, target
from tests.client.losing_proxy import LosingProxy
from tests.rest.conftest import StubServer, running_stub
from tests.server_process import ServerProcess, wait_until

STREAMS = 8
CALLS = 40  # of each stream
ANSWERS_BEFORE_KILL = 100
RESTART_SECONDS = 30  # for a call during which the service starts again, on a busy machine
SOON = (("grpc-retry-pushback-ms", "1"),)  # the server's own delay before the next attempt


def unavailable(context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata(SOON)
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def failing_first(stub: StubServer, failures: int) -> None:
    """Lets the stub answer the first calls with UNAVAILABLE."""
    stub.answer = lambda context: unavailable(context) if len(stub.metadata) <= failures else b""


async def test_an_unavailable_service_is_called_again(open_client: OpenClient, stub: StubServer) -> None:
    """All attempts have the same key and request id. The server may set the delay between them."""
    failing_first(stub, 4)
    await open_client(target(stub)).submit_event("mntr_1", EventType.PAUSE)
    assert len(stub.metadata) == 5
    for name in ("idempotency-key", "x-request-id"):
        assert len({attempt[name] for attempt in stub.metadata}) == 1
    first, second = open_client(target(stub)), open_client(target(stub))
    await first.submit_event("mntr_1", EventType.PAUSE)
    await second.submit_event("mntr_1", EventType.PAUSE)
    assert len({attempt["idempotency-key"] for attempt in stub.metadata}) == 3


async def test_the_fifth_failure_is_the_callers(open_client: OpenClient, stub: StubServer) -> None:
    """As gRPC allows no more than five attempts."""
    stub.answer = unavailable
    with pytest.raises(UnavailableError, match="not now"):
        await open_client(target(stub)).list_sync_events()
    assert len(stub.metadata) == 5


async def test_other_errors_are_not_repeated(open_client: OpenClient, stub: StubServer) -> None:
    """They would fail again, or burden a service that is in trouble."""
    stub.answer = lambda context: context.abort(grpc.StatusCode.INTERNAL, "internal error")
    with pytest.raises(InternalError):
        await open_client(target(stub)).list_sync_events()
    assert len(stub.metadata) == 1


async def test_an_option_replaces_the_clients_own(open_client: OpenClient, stub: StubServer) -> None:
    """Here the one that says how often a call is attempted."""
    stub.answer = unavailable
    with pytest.raises(UnavailableError):
        await open_client(target(stub), options=[("grpc.service_config", "{}")]).list_sync_events()
    assert len(stub.metadata) == 1


async def test_the_time_limit_is_for_all_attempts(open_client: OpenClient, stub: StubServer) -> None:
    """That of the client, and in its place that of a call."""
    stub.answer = lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    with pytest.raises(DeadlineExceededError):
        await open_client(target(stub), timeout=0.2).list_sync_events()
    with pytest.raises(DeadlineExceededError):
        await open_client(target(stub)).list_sync_events(timeout=0.2)


async def test_another_address_takes_over(open_client: OpenClient) -> None:
    """Calls go to all addresses of a name, and to the rest when one is gone."""
    with running_stub() as first, ExitStack() as stack:
        second = stack.enter_context(running_stub())
        client = open_client(f"ipv4:{target(first)},{target(second)}")
        while not (first.metadata and second.metadata):
            await client.list_sync_events()
        stack.close()
        for _ in range(10):
            await client.list_sync_events()


async def test_an_event_whose_answer_was_lost_is_recorded_once(
    open_client: OpenClient, service: ServerProcess, mentor_id: str
) -> None:
    """The connection breaks after the event was stored. The caller gets the answer of the repeated call."""
    with LosingProxy(service.grpc) as proxy:
        client = open_client(proxy.target)
        await client.list_sync_events()
        proxy.swallow_answers()
        submitting = asyncio.ensure_future(client.submit_event(mentor_id, EventType.PAUSE))
        await asyncio.to_thread(wait_until, lambda: stored(service.database, mentor_id), "the event in the database")
        proxy.cut()
        submitted = await submitting
    assert stored(service.database, mentor_id) == [(submitted.sync_event_id,)]


class Watcher:
    """Notes the events of all changes, in the order in which they come."""

    def __init__(self) -> None:
        self.is_current = asyncio.Event()
        self.seen: list[str] = []

    async def watch(self, client: Any, number: int) -> None:
        """Returns after this number of changes."""
        async with aclosing(client.watch(changes_only=True)) as messages:
            async for message in messages:
                self.is_current.set()
                self.seen += [change.event.sync_event_id for change in message.changes]
                if len(self.seen) >= number:
                    return


async def test_no_call_fails_and_no_change_is_missed_when_the_service_is_killed(
    open_client: OpenClient, up: Restartable
) -> None:
    """With kill -9 in the middle of calls, and a restart, each submit has its answer and each event is stored once.

    A watch gives each event once.
    """
    client = open_client(up.grpc, timeout=RESTART_SECONDS)
    answers: list[SubmittedEvent] = []
    restarts: list[Any] = []
    before = up.recorded()
    watcher = Watcher()
    watching = asyncio.ensure_future(watcher.watch(client, STREAMS * CALLS))
    await watcher.is_current.wait()

    async def stream(mentor_id: str) -> None:
        for _ in range(CALLS):
            answers.append(await client.submit_event(mentor_id, EventType.PAUSE, wait_for_ready=True))
            if len(answers) == ANSWERS_BEFORE_KILL:
                restarts.append(asyncio.ensure_future(asyncio.to_thread(up.restart)))

    await asyncio.gather(*(stream(f"mntr_{number}") for number in range(STREAMS)))
    await asyncio.gather(*restarts)
    async with asyncio.timeout(RESTART_SECONDS):
        await watching
    submitted = sorted(answer.sync_event_id for answer in answers)
    assert sorted(up.recorded() - before) == submitted
    assert sorted(watcher.seen) == submitted
