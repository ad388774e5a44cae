"""Writes are durable, complete and in order."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage.engine import Engine

from tests.storage.opened import MENTOR_ID, START, EventIds, OpenedStorage, ids_of

PAUSE, RESUME, DEACTIVATE, ACTIVATE = EventType
Opened = Callable[[], AbstractAsyncContextManager[OpenedStorage]]


def submits(*keys: str) -> list[Operation]:
    return [SubmitOperation(MENTOR_ID, PAUSE, "", None, key) for key in keys]


def events_in(outcomes: object) -> list[SyncEvent]:
    assert isinstance(outcomes, list)
    assert all(isinstance(outcome, SyncEvent) for outcome in outcomes)
    return outcomes


async def test_what_was_answered_is_there_after_reopening(opened: Opened) -> None:
    """Every field of a record survives, and so do totals and the mentor."""
    async with opened() as storage:
        submitted = await storage.submit(reason="a break", client_timestamp=START * 1_000 - 1, key="k")
        storage.clock.seconds = 3
        acknowledged = await storage.update(await storage.submit(RESUME), acknowledged=True)
        deleted = await storage.delete(await storage.submit(DEACTIVATE, reason="secret", key="d"))
        loser = await storage.submit(RESUME)
    async with opened() as storage:
        assert await storage.submit(reason="a break", client_timestamp=START * 1_000 - 1, key="k") == submitted
        assert await storage.update(acknowledged, acknowledged=True) == acknowledged
        assert await storage.delete(deleted) == deleted
        assert await storage.submit(DEACTIVATE, reason="secret", key="d") == deleted
        assert await storage.update(loser, acknowledged=False) == loser
        assert await storage.pending_ids() == [submitted.sync_event_id]
        snapshot = await storage.reader.snapshot(MENTOR_ID)
        assert snapshot.status is MentorStatus.INACTIVE
        assert snapshot.last_updated == deleted.server_timestamp
        assert ids_of(snapshot.pending_events) == [submitted.sync_event_id]


async def test_the_effective_time_survives_deletion_and_reopening(opened: Opened) -> None:
    """The mentor's record decides which events are stale."""
    async with opened() as storage:
        await storage.delete(await storage.submit())
    async with opened() as storage:
        assert not (await storage.submit(RESUME, client_timestamp=START * 1_000 - 1)).accepted


async def test_far_times_are_stored_whole(opened: Opened) -> None:
    """Times from the year 0001 to 9999 can be stored."""
    async with opened() as storage:
        first = await storage.submit(client_timestamp=-62_135_596_800 * 1_000_000_000)
        last = await storage.submit(client_timestamp=253_402_300_799 * 1_000_000_000 + 999_999_999)
    async with opened() as storage:
        assert await storage.submit(client_timestamp=-62_135_596_800 * 1_000_000_000) == first
        assert await storage.submit(client_timestamp=253_402_300_799 * 1_000_000_000 + 999_999_999) == last


async def test_a_reason_is_stored_as_it_was_sent(opened: Opened) -> None:
    """Quotes, line feeds and characters beyond the basic plane come back unchanged."""
    reason = "'\";--\n\t%s ? \\ \U0001f9d8" * 20
    async with opened() as storage:
        event = await storage.submit(reason=reason)
    async with opened() as storage:
        assert (await storage.update(event, acknowledged=True)).reason == reason


async def test_many_submits_at_once_are_all_kept_without_a_gap(storage: OpenedStorage) -> None:
    """Sequences ascend by one in commit order, and totals are exact."""
    mentors = [f"mntr_{number}" for number in range(7)]
    events = sorted(await asyncio.gather(*(storage.submit(mentor_id=mentors[n % 7]) for n in range(500))))
    assert [event.sequence for event in events] == list(range(1, 501))
    assert await storage.pending_ids() == [event.sync_event_id for event in events]
    for mentor_id in mentors:
        own = [event.sync_event_id for event in events if event.mentor_id == mentor_id]
        assert await storage.pending_ids(mentor_id) == own


async def test_the_same_submit_many_times_at_once_is_one_event(storage: OpenedStorage) -> None:
    """All get the one event's answer, whether recognised by key or by time."""
    for fields in ({"key": "k"}, {"client_timestamp": START * 1_000}):
        events = await asyncio.gather(*(storage.submit(**fields) for _ in range(50)))
        assert len(set(events)) == 1
    assert len(await storage.pending_ids()) == 2


async def test_a_refused_operation_does_not_affect_its_batch(storage: OpenedStorage) -> None:
    """A reused key or an unknown event refuses its own operation alone."""
    storage.gate.close()
    first = asyncio.create_task(storage.submit(key="k"))
    await storage.gate.entered()
    rest = asyncio.gather(
        storage.submit(RESUME, key="k"),
        storage.writer.write(UpdateOperation("evt_UNKNOWN1", acknowledged=True, reason=None)),
        storage.writer.write(DeleteOperation("evt_UNKNOWN1")),
        storage.submit(RESUME),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    storage.gate.open()
    reused, unknown, unknown_too, resumed = await rest
    assert isinstance(reused, IdempotencyKeyReusedError)
    assert isinstance(unknown, EventNotFoundError)
    assert isinstance(unknown_too, EventNotFoundError)
    assert isinstance(resumed, SyncEvent)
    assert resumed.sequence == (await first).sequence + 1


async def test_an_event_may_change_in_the_batch_of_others(storage: OpenedStorage) -> None:
    """Several changes to one event in one batch are decided in their order."""
    event = await storage.submit(reason="a")
    storage.gate.close()
    first = asyncio.create_task(storage.submit(RESUME))
    await storage.gate.entered()
    rest = asyncio.gather(
        storage.update(event, acknowledged=True),
        storage.update(event, acknowledged=False, reason="b"),
        storage.delete(event),
        storage.update(event, reason="c"),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    storage.gate.open()
    acknowledged, edited, deleted, refused = await rest
    assert isinstance(acknowledged, SyncEvent)
    assert isinstance(edited, SyncEvent)
    assert isinstance(deleted, SyncEvent)
    assert isinstance(refused, EventNotFoundError)
    assert [acknowledged.revision, edited.revision, deleted.revision] == [3, 4, 5]
    assert await storage.pending_ids() == [(await first).sync_event_id]


class TestTakenEventIds:
    def test_an_id_that_is_stored_already_is_drawn_again(self, engine: Engine, event_ids: EventIds) -> None:
        """The stored event keeps its id, and the new one gets another."""
        store = engine.open_store()
        event_ids.planned = ["evt_TAKEN000"]
        (first,) = events_in(store.transact(submits("a")).outcomes)
        event_ids.planned = ["evt_TAKEN000", "evt_FREE0000"]
        (second,) = events_in(store.transact(submits("b")).outcomes)
        assert (first.sync_event_id, second.sync_event_id) == ("evt_TAKEN000", "evt_FREE0000")
        assert events_in(store.transact(submits("a", "b")).outcomes) == [first, second]
        store.close()

    def test_an_id_of_an_event_that_the_batch_repeats_is_drawn_again(self, engine: Engine, event_ids: EventIds) -> None:
        """The repeated submit gets its own event, not the new one."""
        store = engine.open_store()
        event_ids.planned = ["evt_TAKEN000"]
        (first,) = events_in(store.transact(submits("a")).outcomes)
        event_ids.planned = ["evt_TAKEN000", "evt_FREE0000"]
        again, second = events_in(store.transact(submits("a", "b")).outcomes)
        assert again == first
        assert second.sync_event_id == "evt_FREE0000"
        store.close()

    def test_an_id_drawn_twice_within_a_batch_is_drawn_again(self, engine: Engine, event_ids: EventIds) -> None:
        """No two events of one batch share an id, and each is stored."""
        store = engine.open_store()
        event_ids.planned = ["evt_TAKEN000"] * 3
        first, second = events_in(store.transact(submits("a", "b")).outcomes)
        assert first.sync_event_id == "evt_TAKEN000" != second.sync_event_id
        assert events_in(store.transact(submits("a", "b")).outcomes) == [first, second]
        assert (second.sequence, second.revision) == (2, 2)
        store.close()

    def test_ids_taken_in_the_store_and_in_the_batch_are_drawn_again(self, engine: Engine, event_ids: EventIds) -> None:
        """Both at once leave no gap in the sequence, and no operation undone or done twice."""
        store = engine.open_store()
        event_ids.planned = ["evt_TAKEN000"]
        store.transact(submits("a"))
        event_ids.planned = ["evt_TAKEN001", "evt_TAKEN000", "evt_TAKEN001", "evt_TAKEN001", "evt_TAKEN000"]
        events = events_in(store.transact(submits("b", "c", "d")).outcomes)
        assert [event.sequence for event in events] == [2, 3, 4]
        assert len({event.sync_event_id for event in events} | {"evt_TAKEN000"}) == 4
        assert events_in(store.transact(submits("b", "c", "d")).outcomes) == events
        store.close()


class TestPoison:
    POISON = SubmitOperation("mntr_\ud800", PAUSE, "", None, None)  # no encoding can store this

    async def test_an_operation_that_fails_does_not_take_its_batch_down(self, storage: OpenedStorage) -> None:
        """The others of its batch are written, each once; its own caller gets the error."""
        storage.gate.close()
        first = asyncio.create_task(storage.submit())
        await storage.gate.entered()
        rest = asyncio.gather(
            storage.submit(key="a"),
            storage.writer.write(self.POISON),
            storage.submit(key="b"),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
        storage.gate.open()
        one, failure, other = await rest
        assert isinstance(failure, ValueError)
        assert isinstance(one, SyncEvent)
        assert isinstance(other, SyncEvent)
        expected = [(await first).sync_event_id, one.sync_event_id, other.sync_event_id]
        assert await storage.pending_ids() == expected

    async def test_the_writer_outlives_a_failing_operation(self, storage: OpenedStorage) -> None:
        """The next write succeeds."""
        with pytest.raises(ValueError, match="surrogate"):
            await storage.writer.write(self.POISON)
        assert (await storage.submit()).sequence == 1
