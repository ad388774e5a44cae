"""The live feed's reads: what changed after a revision, and the present state."""

import pytest
from mentorsync.domain.operations import DeleteOperation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage.change_reader import ChangeReader, EventChange
from mentorsync.storage.engine import Engine
from mentorsync.storage.store import Store

from tests.storage.opened import MENTOR_ID, START, OpenedStorage

PAUSE, RESUME, DEACTIVATE, ACTIVATE = EventType
ENOUGH = 1_000  # a limit above the number of events in these tests
LONG_STATEMENT_INDEXES = {
    "changes_after": "events_revision",
    "pending_after": "events_pending",
    "mentor_pending_after": "events_pending_of_mentor",
    "snapshots": "events_pending_of_mentor",
}


@pytest.fixture
def changes(storage: OpenedStorage) -> ChangeReader:
    return storage.engine.open_change_reader()


async def revisions_after(changes: ChangeReader, revision: int, limit: int = ENOUGH) -> list[int]:
    return [change.revision for change in (await changes.changes_after(revision, limit)).changes]


async def test_an_empty_log_has_a_position_and_no_changes(changes: ChangeReader) -> None:
    """Revision 0 is before the first change. The epoch is there from the beginning."""
    position = await changes.position()
    assert position.epoch > 0
    assert (position.last_revision, position.purged_revision) == (0, 0)
    assert await changes.changes_after(0, ENOUGH) == (position, [])
    assert await changes.pending_after(0, ENOUGH) == (position, [])
    assert await changes.snapshots([MENTOR_ID]) == (position, [])


async def test_a_change_shows_the_event_whole(storage: OpenedStorage, changes: ChangeReader) -> None:
    """Everything but its reason, its key and the phone's time."""
    event = await storage.submit(reason="private")
    storage.clock.seconds = 1
    await storage.update(event, acknowledged=True)
    (change,) = (await changes.changes_after(0, ENOUGH)).changes
    assert change == EventChange(
        revision=2,
        sequence=1,
        sync_event_id=event.sync_event_id,
        mentor_id=MENTOR_ID,
        event_type=PAUSE,
        resulting_status=MentorStatus.PAUSED,
        server_timestamp=START,
        acknowledged=True,
        accepted=True,
        deleted=False,
        changed_at=START + 1_000_000,
        mentor_status=MentorStatus.PAUSED,
    )
    assert type(change.event_type) is EventType
    assert type(change.resulting_status) is type(change.mentor_status) is MentorStatus
    assert type(change.acknowledged) is type(change.accepted) is type(change.deleted) is bool


async def test_an_event_appears_once_at_its_last_revision(storage: OpenedStorage, changes: ChangeReader) -> None:
    """Its earlier states are skipped."""
    first, second, third = await storage.submit_many(3)
    await storage.update(first, acknowledged=True)
    await storage.delete(second)
    await storage.update(first, acknowledged=False)
    found = (await changes.changes_after(0, ENOUGH)).changes
    assert [(change.revision, change.sequence) for change in found] == [(3, 3), (5, 2), (6, 1)]
    assert [change.deleted for change in found] == [False, True, False]
    assert [change.pending for change in found] == [True, False, True]
    assert third.revision == 3


async def test_changes_begin_after_the_revision_and_end_at_the_limit(
    storage: OpenedStorage, changes: ChangeReader
) -> None:
    """The position is the log's, also if the limit cuts the changes off."""
    await storage.submit_many(5)
    assert await revisions_after(changes, 2) == [3, 4, 5]
    assert await revisions_after(changes, 2, limit=2) == [3, 4]
    assert await revisions_after(changes, 5) == []
    assert await revisions_after(changes, 99) == []
    assert (await changes.changes_after(0, 1)).position.last_revision == 5


async def test_a_change_has_the_mentors_status_of_the_read(storage: OpenedStorage, changes: ChangeReader) -> None:
    """It is that of the last accepted event: an old event must not set a status back, and a stale one sets none."""
    old = await storage.submit(PAUSE)
    await storage.submit(DEACTIVATE)
    await storage.submit(ACTIVATE, client_timestamp=0)
    await storage.update(old, acknowledged=True)
    found = (await changes.changes_after(0, ENOUGH)).changes
    assert [change.accepted for change in found] == [True, False, True]
    assert [change.mentor_status for change in found] == [MentorStatus.INACTIVE] * 3


async def test_snapshots_are_those_of_the_reader(storage: OpenedStorage, changes: ChangeReader) -> None:
    """Each mentor once, however it is asked for, with at most 100 pending events. Unknown mentors are left out."""
    await storage.submit_many(101, "mntr_many")
    await storage.delete(await storage.submit(mentor_id="mntr_none"))
    await storage.submit(mentor_id="mntr_one")
    await storage.submit(mentor_id="mntr_other")
    names = ["mntr_one", "mntr_unknown", "mntr_many", "mntr_none", "mntr_one"]
    position, snapshots = await changes.snapshots(names)
    assert position == await changes.position()
    expected = [await storage.reader.snapshot(name) for name in ("mntr_many", "mntr_none", "mntr_one")]
    assert snapshots == expected
    assert [len(snapshot.pending_events) for snapshot in snapshots] == [100, 0, 1]
    assert await changes.snapshots([]) == (position, [])


async def test_pending_events_are_read_page_by_page(storage: OpenedStorage, changes: ChangeReader) -> None:
    """Oldest first, whatever their revision; those that are not pending are left out."""
    events = await storage.submit_many(6)
    await storage.update(events[0], reason="edited")
    await storage.update(events[1], acknowledged=True)
    await storage.delete(events[2])
    await storage.submit(RESUME, client_timestamp=0)
    position, first = await changes.pending_after(0, 2)
    assert position == await changes.position()
    assert [change.sequence for change in first] == [1, 4]
    _position, rest = await changes.pending_after(4, 10)
    assert [change.sequence for change in rest] == [5, 6]
    assert all(change.pending for change in first + rest)


async def test_pending_events_of_one_mentor(storage: OpenedStorage, changes: ChangeReader) -> None:
    """Those of the others are left out."""
    for number in range(6):
        await storage.submit(mentor_id=f"mntr_{number % 2}")
    _position, found = await changes.pending_after(1, 10, "mntr_0")
    assert [change.sequence for change in found] == [3, 5]
    assert {change.mentor_id for change in found} == {"mntr_0"}
    assert (await changes.pending_after(0, 10, "mntr_unknown"))[1] == []


class TestCommit:
    """What the writer announces is what a reader would find."""

    @pytest.fixture
    def store(self, engine: Engine) -> Store:
        return engine.open_store()

    @pytest.fixture
    def reader(self, engine: Engine) -> ChangeReader:
        return engine.open_change_reader()

    async def test_a_batch_announces_its_changes(self, store: Store, reader: ChangeReader) -> None:
        """New and changed events together, in the order of their last revisions, each once."""
        names = ("mntr_a", "mntr_b", "mntr_a")
        before = store.transact([SubmitOperation(name, PAUSE, "private", None, None) for name in names])
        assert before.first_revision == 1
        assert before.changes == (await reader.changes_after(0, ENOUGH)).changes
        first, second, _third = (outcome for outcome in before.outcomes if isinstance(outcome, SyncEvent))
        batch = store.transact(
            [
                UpdateOperation(first.sync_event_id, acknowledged=True, reason=None),
                SubmitOperation("mntr_b", DEACTIVATE, "", None, None),
                DeleteOperation(second.sync_event_id),
                UpdateOperation(first.sync_event_id, acknowledged=False, reason=None),
                DeleteOperation("evt_UNKNOWN"),
            ]
        )
        assert (batch.first_revision, batch.head.last_revision) == (4, 7)
        assert [change.revision for change in batch.changes] == [5, 6, 7]
        assert batch.changes == (await reader.changes_after(3, ENOUGH)).changes
        store.close()

    async def test_repeats_announce_nothing(self, store: Store) -> None:
        """The batch covers no revision."""
        submit = SubmitOperation(MENTOR_ID, PAUSE, "", None, "key")
        store.transact([submit])
        repeat = store.transact([submit, submit])
        assert (repeat.first_revision, repeat.head.last_revision, repeat.changes) == (2, 1, [])
        probe = store.transact([])
        assert (probe.first_revision, probe.head.last_revision, probe.changes) == (2, 1, [])
        store.close()


@pytest.mark.parametrize("statement", LONG_STATEMENT_INDEXES)
def test_each_read_uses_its_index(engine: Engine, statement: str) -> None:
    """No table is read whole but those of one row. PostgreSQL would otherwise plan for the small tables of a test."""
    reader = engine.open_change_reader()
    sql = getattr(reader._statements, statement)  # noqa: SLF001 - the statements that are really run
    mentors = reader._statements.list_parameter([MENTOR_ID])  # noqa: SLF001 - as above
    parameters = {"snapshots": (mentors,), "mentor_pending_after": (MENTOR_ID, 1, 1)}.get(statement, (1, 1))
    explain = "EXPLAIN QUERY PLAN" if engine.failures[0].__module__.startswith("sqlite3") else "EXPLAIN"
    plan = "\n".join(str(row) for row in reader._query(f"{explain} {sql}", parameters))  # noqa: SLF001 - as above
    assert LONG_STATEMENT_INDEXES[statement] in plan, plan
