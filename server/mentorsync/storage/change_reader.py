"""The live feed's reads: one query each, on threads of their own, so that they never hold up a call."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeVar

from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage.reader import Snapshot, event_rows, wait_for_answer
from mentorsync.storage.rows import Row
from mentorsync.time_limits import ANSWER_SECONDS

POSITION_COLUMNS = 3  # every row begins with them: the columns of LogPosition

Answer = TypeVar("Answer")


class EventChange(NamedTuple):
    """An event as its last change left it, without its reason. Times: microseconds.

    mentor_status is the mentor's status at this revision or later. changed_at is the time of the last change.
    """

    revision: int
    sequence: int
    sync_event_id: str
    mentor_id: str
    event_type: EventType
    resulting_status: MentorStatus
    server_timestamp: int
    acknowledged: bool
    accepted: bool
    deleted: bool
    changed_at: int
    mentor_status: MentorStatus

    @classmethod
    def of(cls, event: SyncEvent, mentor_status: MentorStatus) -> "EventChange":
        return cls(
            event.revision,
            event.sequence,
            event.sync_event_id,
            event.mentor_id,
            event.event_type,
            event.resulting_status,
            event.server_timestamp,
            event.acknowledged,
            event.accepted,
            event.deleted_at is not None,
            event.updated_at,
            mentor_status,
        )

    @property
    def pending(self) -> bool:
        return self.accepted and not self.acknowledged and not self.deleted


class LogPosition(NamedTuple):
    """Where the log stands.

    Two positions can be compared only if they have the same epoch. purged_revision is the highest revision of an event
    that a purge removed, or 0: a reader of all revisions above it has missed nothing.
    """

    epoch: int
    last_revision: int
    purged_revision: int


class Changes(NamedTuple):
    """Changes in ascending order of revision, each event once, with the log's position in the same read."""

    position: LogPosition
    changes: list[EventChange]


class Statements(Protocol):
    position: str
    changes_after: str
    snapshots: str
    pending_after: str
    mentor_pending_after: str

    def list_parameter(self, values: Sequence[str]) -> Any:
        """Converts a list to the one parameter that stands for it."""


class ChangeReader:
    """Answers the live feed's reads from `query`, an engine's function from SQL and parameters to rows.

    Each read is one statement, and so sees one state of the database. Reads may come from several event loops. Every
    method raises StorageUnavailableError when the database fails or takes too long.
    """

    def __init__(
        self, query: Callable[[str, tuple[Any, ...]], list[Row]], statements: Statements, executor: Executor
    ) -> None:
        self._query = query
        self._statements = statements
        self._executor = executor

    async def position(self) -> LogPosition:
        return await self._read(_position, self._statements.position)

    async def changes_after(self, revision: int, limit: int) -> Changes:
        """Returns the first changes with a higher revision. They are complete if `position` was not purged past it."""
        return Changes(*await self._read(_changes, self._statements.changes_after, revision, limit))

    async def snapshots(self, mentor_ids: Sequence[str]) -> tuple[LogPosition, list[Snapshot]]:
        """Returns the snapshots of mentors, each with its oldest 100 pending events. Unknown mentors are left out."""
        mentors = self._statements.list_parameter(mentor_ids)
        return await self._read(_snapshots, self._statements.snapshots, mentors)

    async def pending_after(
        self, sequence: int, limit: int, mentor_id: str | None = None
    ) -> tuple[LogPosition, list[EventChange]]:
        """Returns the first pending events, of all mentors or of one, with a higher sequence, oldest first."""
        if mentor_id is None:
            return await self._read(_changes, self._statements.pending_after, sequence, limit)
        return await self._read(_changes, self._statements.mentor_pending_after, mentor_id, sequence, limit)

    async def _read(self, convert: Callable[[list[Row]], Answer], sql: str, *parameters: Any) -> Answer:
        future = self._executor.submit(lambda: convert(self._query(sql, parameters)))
        return await wait_for_answer(future, ANSWER_SECONDS)


def _position(rows: list[Row]) -> LogPosition:
    return LogPosition(*rows[0][:POSITION_COLUMNS])


def _changes(rows: list[Row]) -> tuple[LogPosition, list[EventChange]]:
    # A left join gives a row of NULLs where there is no event.
    return _position(rows), [_change(row) for row in rows if row[POSITION_COLUMNS] is not None]


def _change(row: Row) -> EventChange:
    change = EventChange(*row[POSITION_COLUMNS:])
    return change._replace(
        event_type=EventType(change.event_type),
        resulting_status=MentorStatus(change.resulting_status),
        acknowledged=bool(change.acknowledged),  # SQLite returns 0 or 1
        accepted=bool(change.accepted),
        deleted=bool(change.deleted),
        mentor_status=MentorStatus(change.mentor_status),
    )


def _snapshots(rows: list[Row]) -> tuple[LogPosition, list[Snapshot]]:
    mentors = groupby((row[POSITION_COLUMNS:] for row in rows), key=lambda row: row[:3])
    return _position(rows), [_snapshot(head, list(events)) for head, events in mentors if head[0] is not None]


def _snapshot(head: Row, rows: list[Row]) -> Snapshot:
    mentor_id, status, last_updated = head
    return Snapshot(mentor_id, MentorStatus(status), last_updated, event_rows(rows, 3))
