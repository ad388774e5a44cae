"""The live feed through both clients: what they give, and how they continue after a lost connection."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
import pytest
from mentorstatus_client import (
    EventType,
    FeedKind,
    FeedMessage,
    InvalidFieldError,
    MentorStatus,
    MentorStatusSyncClient,
    MentorStatusSyncError,
    ResourceExhaustedError,
    SyncEventChange,
    UnauthenticatedError,
    UnavailableError,
)
from mentorstatus_client.channel import CHANNEL_OPTIONS
from mentorstatus_client.watching import Watch
from mentorsync.feed.stream import JITTER
from mentorsync.feed.subscribers import TICKS
from mentorsync.time_limits import HEARTBEAT_SECONDS, STREAM_SILENCE_SECONDS

from tests.client.conftest import OpenClient
from tests.client.losing_proxy import LosingProxy
from tests.grpc_client import OWN_CONNECTION
from tests.server_process import ServerProcess

WAIT_SECONDS = 30  # far longer than anything here takes
CURRENT = FeedMessage(FeedKind.CURRENT, cursor="a")
# The client's own limits of silence, all twenty times shorter.
IMPATIENT = [(name, value // 20) for name, value in CHANNEL_OPTIONS if "keepalive" in name or "ping" in name]
LOST = UnavailableError(grpc.StatusCode.UNAVAILABLE, "lost")


async def next_change(messages: Any) -> SyncEventChange:
    """The next change, which must come alone."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (message := await anext(messages)).kind is not FeedKind.CHANGES:
            pass
    (change,) = message.changes
    return change  # type: ignore[no-any-return]  # the clients are not typed here


async def test_a_watch_gives_the_present_state_and_then_each_change(client: Any, mentor_id: str) -> None:
    """An event that is submitted, acknowledged and deleted."""
    first = await client.submit_event(mentor_id, EventType.PAUSE)
    async with aclosing(client.watch(mentor_ids=[mentor_id])) as messages:
        present = await anext(messages)
        assert (present.kind, present.snapshot.status) == (FeedKind.SNAPSHOT, MentorStatus.PAUSED)
        assert [event.sync_event_id for event in present.snapshot.pending_events] == [first.sync_event_id]
        assert (await anext(messages)).kind is FeedKind.CURRENT
        second = await client.submit_event(mentor_id, EventType.RESUME)
        change = await next_change(messages)
        assert (change.event.sync_event_id, change.pending) == (second.sync_event_id, True)
        assert change.mentor_status is MentorStatus.ACTIVE
        await client.update_event(second.sync_event_id, acknowledged=True)
        assert (await next_change(messages)).pending is False
        await client.delete_event(first.sync_event_id)
        assert (await next_change(messages)).deleted is True


async def test_a_watch_continues_after_a_cursor(client: Any, mentor_id: str) -> None:
    """That of an earlier watch, as a process does that was restarted."""
    async with aclosing(client.watch(mentor_ids=[mentor_id])) as messages:
        current = await anext(messages)
    submitted = await client.submit_event(mentor_id, EventType.PAUSE)
    async with aclosing(client.watch(mentor_ids=[mentor_id], cursor=current.cursor)) as messages:
        assert (await next_change(messages)).event.sync_event_id == submitted.sync_event_id


async def test_a_watch_of_a_silent_network_continues(
    open_client: OpenClient, client: Any, service: ServerProcess, mentor_id: str
) -> None:
    """The connection stays open, but nothing arrives any more. Another connection gets all changes, each once."""
    with LosingProxy(service.grpc) as proxy:
        watcher = open_client(proxy.target, options=IMPATIENT)
        async with aclosing(watcher.watch(mentor_ids=[mentor_id])) as messages:
            assert (await anext(messages)).kind is FeedKind.CURRENT
            seen = await client.submit_event(mentor_id, EventType.PAUSE)
            assert (await next_change(messages)).event.sync_event_id == seen.sync_event_id
            proxy.silence()
            missed = await client.submit_event(mentor_id, EventType.RESUME)
            assert (await next_change(messages)).event.sync_event_id == missed.sync_event_id
            later = await client.submit_event(mentor_id, EventType.PAUSE)
            assert (await next_change(messages)).event.sync_event_id == later.sync_event_id


def test_a_closed_client_ends_a_watch_that_waits_to_connect_again(
    service: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, as it ends a stream."""
    waits = threading.Event()

    def pause(_watch: Watch) -> float:
        waits.set()
        return 5.0

    monkeypatch.setattr(Watch, "next_pause", pause)
    with LosingProxy(service.grpc) as proxy, ThreadPoolExecutor() as threads:
        client = MentorStatusSyncClient(proxy.target, options=OWN_CONNECTION)
        messages = client.watch(changes_only=True)
        assert next(messages).kind is FeedKind.CURRENT
        following = threads.submit(next, messages)
        proxy.cut()
        assert waits.wait(WAIT_SECONDS)
        client.close()
        with pytest.raises(MentorStatusSyncError) as raised:
            following.result(WAIT_SECONDS)
    assert raised.value.code is grpc.StatusCode.CANCELLED


def test_a_minute_of_silence_is_noticed() -> None:
    """A ping is sent only if a heartbeat is missing: with live servers there is none."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] > 1_000 * HEARTBEAT_SECONDS * (1 + JITTER + 1 / TICKS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] < 1_000 * STREAM_SILENCE_SECONDS


async def test_a_watch_that_cannot_begin_fails(client: Any) -> None:
    """The service's refusal is raised."""
    with pytest.raises(InvalidFieldError):
        await anext(client.watch(mentor_ids=["nobody"]))


def test_a_stream_continues_at_the_last_cursor() -> None:
    """Heartbeats move it. The end of a stream is not shown."""
    watch = Watch((), "begin", changes_only=False)
    assert watch.next_call().request.cursor == "begin"  # type: ignore[attr-defined]
    heartbeat = FeedMessage(FeedKind.HEARTBEAT, cursor="b")
    assert [*watch.take(CURRENT), *watch.take(heartbeat)] == [CURRENT, heartbeat]
    assert list(watch.take(FeedMessage(FeedKind.GOING_AWAY))) == []
    assert list(watch.take(FeedMessage(FeedKind.UNKNOWN))) == []
    assert 1 <= watch.next_pause() <= 10
    assert list(watch.start()) == []
    assert watch.next_call().request.cursor == "b"  # type: ignore[attr-defined]


def test_a_present_state_that_was_cut_off_is_dropped() -> None:
    """It begins again, and what has been acknowledged since then is not in it."""
    watch = Watch((), None, changes_only=False)
    assert list(watch.start()) == []
    list(watch.take(FeedMessage(FeedKind.PRESENT)))
    watch.check(LOST)
    assert list(watch.start()) == [FeedMessage(FeedKind.RESET)]
    list(watch.take(CURRENT))
    assert list(watch.start()) == []


def test_a_reset_drops_the_cursor() -> None:
    """Another server may still know it, and would not send the present state again that the receiver has dropped."""
    watch = Watch((), "begin", changes_only=False)
    list(watch.take(FeedMessage(FeedKind.RESET, reset_reason="FOREIGN")))
    watch.check(LOST)
    assert list(watch.start()) == [FeedMessage(FeedKind.RESET)]
    assert not watch.next_call().request.HasField("cursor")
    list(watch.take(CURRENT))
    assert watch.next_call().request.cursor == "a"  # type: ignore[attr-defined]


def test_a_service_that_stays_away_is_called_less_and_less() -> None:
    """Up to twice a minute, and no sooner than the service asks for. A message ends that."""
    watch = Watch((), None, changes_only=False)
    list(watch.take(CURRENT))
    watch.check(LOST)
    pauses = [watch.next_pause() for _ in range(8)]
    assert 0.8 <= pauses[0] <= 1.2
    assert 24 <= pauses[-1] <= 36
    list(watch.take(CURRENT))
    delay = timedelta(seconds=5)
    watch.check(ResourceExhaustedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", retry_delay=delay))
    assert 4 <= watch.next_pause() <= 6


def test_some_errors_end_a_watch() -> None:
    """Those before its first message, and those that another stream would meet too."""
    watch = Watch((), None, changes_only=False)
    with pytest.raises(UnavailableError):
        watch.check(LOST)
    list(watch.take(CURRENT))
    with pytest.raises(UnauthenticatedError):
        watch.check(UnauthenticatedError(grpc.StatusCode.UNAUTHENTICATED, "expired"))
