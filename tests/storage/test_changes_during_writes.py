"""A receiver that follows the log while others write and purge has missed nothing, or is shown that it has."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage import purge as purge_module
from mentorsync.storage.change_reader import ChangeReader, EventChange
from mentorsync.storage.engine import Engine
from mentorsync.storage.migrator import migrate
from mentorsync.storage.purge import purge
from mentorsync.storage.rows import Row
from mentorsync.storage.store import Store

from tests.storage.opened import Clock, EventIds, OpenedStorage, OpenEngine

MENTORS = [f"mntr_{number}" for number in range(5)]
STEPS = 200
BATCHES = 100
TICK_SECONDS = 0.001  # the clock's step with each batch: each purge removes what the batches before it left
ALL = 100_000  # a limit above the number of events
PAGE = 3  # a small one, so that purges and writes come between a receiver's pages
STATUSES = "SELECT mentor_id, status FROM mentors"


def ignore_progress(_reached: int, _last: int, _removed: int) -> None:
    return


class Receiver:
    """Does what the live feed's rules ask of a receiver. `fold` holds the events that are pending, by id."""

    def __init__(self, reader: ChangeReader) -> None:
        self._reader = reader
        self._cursor = 0
        self._seen = 0
        self.resets = 0
        self.fold: dict[str, EventChange] = {}
        self.statuses: dict[str, MentorStatus] = {}

    async def step(self) -> int:
        """Reads one page, and returns the last revision of the log at that moment if it has seen everything."""
        position, changes = await self._reader.changes_after(self._cursor, PAGE)
        if position.purged_revision > self._cursor:
            return await self._reset()
        revisions = [change.revision for change in changes]
        assert revisions == sorted(set(revisions)), "not in order"
        assert all(self._cursor < revision <= position.last_revision for revision in revisions), "out of range"
        for change in changes:
            self._apply(change)
        self._cursor = position.last_revision if len(changes) < PAGE else revisions[-1]
        return self._cursor

    async def _reset(self) -> int:
        """Begins again with the present state."""
        self.resets += 1
        position, pending = await self._reader.pending_after(0, ALL)
        self._cursor = position.last_revision
        self.fold = {change.sync_event_id: change for change in pending}
        later, snapshots = await self._reader.snapshots(MENTORS)
        assert later >= position
        self.statuses = {snapshot.mentor_id: snapshot.status for snapshot in snapshots}
        return self._cursor

    def _apply(self, change: EventChange) -> None:
        self.statuses[change.mentor_id] = change.mentor_status
        self.fold.pop(change.sync_event_id, None)
        if change.pending:
            self.fold[change.sync_event_id] = change


class Writes:
    """Random batches, each of a few operations on new and on old events."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice
        self._ids: list[str] = []

    def batch(self) -> list[Operation]:
        return [self._operation() for _ in range(self._choice.randint(1, 5))]

    def note(self, outcomes: Sequence[object]) -> None:
        self._ids += [outcome.sync_event_id for outcome in outcomes if isinstance(outcome, SyncEvent)]

    def _operation(self) -> Operation:
        choice = self._choice
        kind = choice.random()
        if kind < 0.4 or not self._ids:
            client_timestamp = 0 if choice.random() < 0.2 else None
            return SubmitOperation(choice.choice(MENTORS), choice.choice(list(EventType)), "", client_timestamp, None)
        sync_event_id = choice.choice(self._ids)
        if kind < 0.8:
            return UpdateOperation(sync_event_id, acknowledged=choice.random() < 0.7, reason=None)
        return DeleteOperation(sync_event_id)


@pytest.mark.parametrize("seed", range(3))
async def test_a_receiver_that_lags_behind_misses_nothing(
    engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever the order of its reads, the writes and the purges, its fold equals the tables once it has caught up."""
    monkeypatch.setattr(purge_module, "WINDOW_EVENTS", 4)
    choice = random.Random(seed)  # noqa: S311 - no secret
    store, reader, writes = engine.open_store(), engine.open_change_reader(), Writes(choice)
    receiver = Receiver(reader)
    last_revision = 0
    for _ in range(STEPS):
        step = choice.random()
        if step < 0.6:
            last_revision = _commit(store, clock, writes)
        elif step < 0.65:
            purge(engine, choice.choice([0, 10 * TICK_SECONDS, 20 * TICK_SECONDS]), ignore_progress)
        elif await receiver.step() == last_revision:
            await _check(receiver, reader, engine)
    assert receiver.resets > 0
    while await receiver.step() < last_revision:
        continue
    await _check(receiver, reader, engine)
    store.close()


async def test_a_receiver_misses_nothing_while_others_write_and_purge(
    open_engine: OpenEngine, clock: Clock, event_ids: EventIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three has connections of its own."""
    monkeypatch.setattr(purge_module, "WINDOW_EVENTS", 4)
    with ExitStack() as stack:
        writing, purging, reading = (open_engine(clock, event_ids) for _ in range(3))
        migrate(writing)
        for engine in (writing, purging, reading):
            engine.check()
            stack.callback(engine.close)
        receiver = Receiver(reading.open_change_reader())
        written = asyncio.create_task(asyncio.to_thread(_write, writing, clock))
        purged = asyncio.create_task(asyncio.to_thread(_purge, purging, written.done))
        try:
            while not (written.done() and purged.done()):
                await receiver.step()
        finally:
            last_revision, removed = await asyncio.gather(written, purged)
        assert removed > 0
        while await receiver.step() < last_revision:
            continue
        await _check(receiver, reading.open_change_reader(), reading)


async def test_position_and_changes_are_of_one_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is committed right after a read is in neither. A cursor would otherwise be ahead of the changes."""
    store, reader = engine.open_store(), engine.open_change_reader()
    query = reader._query  # noqa: SLF001 - the only place between two statements

    def write_after(sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        rows = query(sql, parameters)
        store.transact([submit])
        engine.close_connection()
        return rows

    submit = SubmitOperation(MENTORS[0], EventType.PAUSE, "", None, None)
    store.transact([submit])
    monkeypatch.setattr(reader, "_query", write_after)
    position, changes = await reader.changes_after(0, ALL)
    assert position.last_revision == changes[-1].revision
    position, changes = await reader.pending_after(0, ALL)
    assert position.last_revision == changes[-1].revision
    position, (snapshot,) = await reader.snapshots(MENTORS[:1])
    assert position.last_revision == len(snapshot.pending_events)
    store.close()


class TestPurgedRevision:
    """The highest revision that a purge removed."""

    async def test_it_is_that_of_the_last_change(self, storage: OpenedStorage) -> None:
        """Not the event's sequence. A receiver that has seen exactly this revision has missed nothing."""
        reader = storage.engine.open_change_reader()
        first, second, _third = await storage.submit_many(3)
        await storage.delete(first)
        await storage.delete(second)
        await storage.submit()
        storage.clock.seconds = 1
        purge(storage.engine, 0, ignore_progress)
        position, changes = await reader.changes_after(5, ALL)
        assert (position.purged_revision, position.last_revision) == (5, 6)
        assert [change.revision for change in changes] == [6]

    async def test_it_never_goes_back(self, storage: OpenedStorage) -> None:
        """A later purge that removes an older revision, or nothing, leaves it as it is."""
        reader = storage.engine.open_change_reader()
        first, second = await storage.submit_many(2)
        await storage.update(first, acknowledged=True)
        storage.clock.seconds = 1
        await storage.delete(second)
        storage.clock.seconds = 2
        await storage.update(first, acknowledged=False)
        purge(storage.engine, 0, ignore_progress)
        assert (await reader.position()).purged_revision == 4
        purge(storage.engine, 0, ignore_progress)
        assert (await reader.position()).purged_revision == 4

    async def test_it_is_written_with_the_removal(
        self, storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In one transaction: if it cannot be written, nothing is removed."""

        def fail(_revision: int) -> None:
            raise InterruptedError

        await storage.delete(await storage.submit())
        storage.clock.seconds = 1
        with monkeypatch.context() as patch:
            patch.setattr(purge_module, "_note_purged", fail)
            with pytest.raises(InterruptedError):
                purge(storage.engine, 0, ignore_progress)
        position, changes = await storage.engine.open_change_reader().changes_after(0, ALL)
        assert (position.purged_revision, len(changes)) == (0, 1)


async def _check(receiver: Receiver, reader: ChangeReader, engine: Engine) -> None:
    _position, pending = await reader.pending_after(0, ALL)
    present = {change.sync_event_id: (change.revision, change.acknowledged) for change in pending}
    assert {key: (change.revision, change.acknowledged) for key, change in receiver.fold.items()} == present
    assert receiver.statuses == dict(engine.database.execute_sql(STATUSES).fetchall())


def _commit(store: Store, clock: Clock, writes: Writes) -> int:
    """Commits one batch, and returns the log's last revision."""
    clock.seconds += TICK_SECONDS
    commit = store.transact(writes.batch())
    store.on_commit(commit)
    writes.note(commit.outcomes)
    return commit.head.last_revision


def _write(engine: Engine, clock: Clock) -> int:
    store, writes = engine.open_store(), Writes(random.Random(0))  # noqa: S311 - no secret
    last_revision = [_commit(store, clock, writes) for _ in range(BATCHES)][-1]
    store.close()
    return last_revision


def _purge(engine: Engine, is_over: Callable[[], bool]) -> int:
    """Purges again and again, for the last time after the last write."""
    removed, was_over = 0, False
    while not was_over:
        was_over = is_over()
        removed += purge(engine, 0, ignore_progress)
    engine.database.close()
    return removed
