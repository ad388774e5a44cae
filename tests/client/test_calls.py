"""Every call of both clients, against the real service."""

import asyncio
import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus_client import (
    AsyncMentorStatusSyncClient,
    DeletedEvent,
    EventType,
    MentorSnapshot,
    MentorStatus,
    MentorStatusSyncClient,
    SubmittedEvent,
    SyncEvent,
    SyncEventPage,
    UpdatedEvent,
)
from mentorstatus_client.messages import sync_event

from tests.server_process import ServerProcess

METHODS = [name for name in vars(MentorStatusSyncClient) if not name.startswith("_")]
EVENTS = 250  # three pages


async def test_the_life_of_an_event(client: Any, mentor_id: str) -> None:
    """Each answer has the contract's fields, as enums and as times in UTC."""
    submitted = await client.submit_event(mentor_id, EventType.PAUSE, reason="a break")
    event_id, now = submitted.sync_event_id, submitted.server_timestamp
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    paused = MentorStatus.PAUSED
    assert submitted == SubmittedEvent(event_id, mentor_id, EventType.PAUSE, True, paused, now, now)
    event = SyncEvent(event_id, mentor_id, EventType.PAUSE, paused, now, False)
    assert await client.get_mentor_status(mentor_id) == MentorSnapshot(mentor_id, paused, False, now, (event,))
    page = await client.list_sync_events(page=1, limit=5, mentor_id=mentor_id)
    assert page == SyncEventPage((event,), page=1, limit=5, total=1)
    updated = await client.update_event(event_id, acknowledged=True, reason="extended")
    assert updated == UpdatedEvent(event_id, True, "extended", updated.updated_at)
    deleted = await client.delete_event(event_id)
    assert deleted == DeletedEvent(event_id, True, deleted.deleted_at)
    assert now <= updated.updated_at <= deleted.deleted_at


async def test_a_stale_event_is_an_answer(client: Any, mentor_id: str) -> None:
    """`accepted` is False, and the status stays."""
    await client.submit_event(mentor_id, EventType.PAUSE)
    an_hour_ago = datetime.now(timezone(timedelta(hours=5))) - timedelta(hours=1)
    stale = await client.submit_event(mentor_id, EventType.ACTIVATE, client_timestamp=an_hour_ago)
    assert (stale.accepted, stale.resulting_status) == (False, MentorStatus.PAUSED)


async def test_a_time_without_a_zone_is_refused(client: Any, mentor_id: str) -> None:
    """It could be hours off."""
    naive = datetime(2026, 3, 26, 9, 14)  # noqa: DTZ001 - under test
    with pytest.raises(ValueError, match="client_timestamp must have a time zone"):
        await client.submit_event(mentor_id, EventType.PAUSE, client_timestamp=naive)


async def test_text_that_is_no_event_type_is_refused(client: Any, mentor_id: str) -> None:
    with pytest.raises(ValueError, match="'pause' is not a valid EventType"):
        await client.submit_event(mentor_id, "pause")


@pytest.mark.parametrize("key", ["Zoë", "key\n"])
async def test_text_that_metadata_cannot_hold_is_refused(client: Any, mentor_id: str, key: str) -> None:
    """Otherwise grpc reports an internal error. A token from a file may end in a line feed."""
    with pytest.raises(ValueError, match="idempotency-key must be printable ASCII"):
        await client.submit_event(mentor_id, EventType.PAUSE, idempotency_key=key)
    with pytest.raises(ValueError, match="authorization must be printable ASCII"):
        await client.get_mentor_status(mentor_id, metadata={"authorization": f"Bearer {key}"})


async def test_each_submit_is_an_event_of_its_own_unless_a_key_joins_them(client: Any, mentor_id: str) -> None:
    """Without a key each submit has a random one."""
    several = [await client.submit_event(mentor_id, EventType.PAUSE) for _ in range(2)]
    assert several[0].sync_event_id != several[1].sync_event_id
    same = [await client.submit_event(mentor_id, EventType.PAUSE, idempotency_key="one") for _ in range(2)]
    assert same[0] == same[1]


async def test_iteration_gives_every_event_although_the_list_shrinks(client: Any, mentor_id: str) -> None:
    """Events that are acknowledged between two pages move those behind them, and none of these is left out."""
    slots = asyncio.Semaphore(16)

    async def submit() -> str:
        async with slots:
            event_id: str = (await client.submit_event(mentor_id, EventType.PAUSE)).sync_event_id
            return event_id

    submitted = await asyncio.gather(*(submit() for _ in range(EVENTS)))
    read = []
    async for event in client.iter_sync_events(mentor_id=mentor_id):
        read.append(event.sync_event_id)
        if len(read) % 60 == 0:  # in the middle of each page
            await asyncio.gather(*(client.update_event(event_id, acknowledged=True) for event_id in read[-60:]))
    assert len(read) == EVENTS
    assert set(read) == set(submitted)


async def test_a_call_takes_metadata(client: Any, service: ServerProcess, mentor_id: str) -> None:
    """A request id from the caller is in the service's log."""
    await client.submit_event(mentor_id, EventType.PAUSE, metadata={"x-request-id": f"request-{mentor_id}"})
    assert service.call_line(f"request-{mentor_id}")["method"] == "SubmitEvent"


def test_a_value_of_a_later_version_is_unknown() -> None:
    """It does not make the answer unreadable."""
    message = pb.SyncEvent(event_type=99, resulting_status=99)  # type: ignore[arg-type]  # not of this version
    event = sync_event(message)
    assert (event.event_type, event.resulting_status) == (EventType.UNKNOWN, MentorStatus.UNKNOWN)


@pytest.mark.parametrize("name", METHODS)
def test_both_clients_have_the_same_methods(name: str) -> None:
    """With the same parameters and the same documentation."""
    plain, other = getattr(MentorStatusSyncClient, name), getattr(AsyncMentorStatusSyncClient, name)
    assert inspect.signature(plain).parameters == inspect.signature(other).parameters
    assert plain.__doc__ == other.__doc__ is not None
