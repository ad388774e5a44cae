"""Conversion between records and database rows, and the keys of the rows that a batch needs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mentorsync.domain.operations import Operation, SubmitOperation
from mentorsync.domain.records import Mentor, SyncEvent
from mentorsync.domain.status import EventType, MentorStatus

Row = tuple[Any, ...]


def mentor_from_row(row: Row) -> Mentor:
    mentor_id, status, *rest = row
    return Mentor(mentor_id, MentorStatus(status), *rest)


def event_from_row(row: Row) -> SyncEvent:
    event = SyncEvent(*row)
    return event._replace(
        event_type=EventType(event.event_type),
        accepted=bool(event.accepted),  # SQLite returns 0 or 1
        resulting_status=MentorStatus(event.resulting_status),
        acknowledged=bool(event.acknowledged),
    )


def changes_of(event: SyncEvent) -> Row:
    """The values of MUTABLE_EVENT_FIELDS, and then the event's sequence."""
    return (event.revision, event.acknowledged, event.reason, event.updated_at, event.deleted_at, event.sequence)


class BatchKeys(NamedTuple):
    """The keys of the rows that a batch of operations needs, sorted, so that every engine reads in one order."""

    request_keys: list[str]
    sync_event_ids: list[str]
    mentor_ids: list[str]

    @classmethod
    def of(cls, operations: Sequence[Operation]) -> "BatchKeys":
        submits = [operation for operation in operations if isinstance(operation, SubmitOperation)]
        return cls(
            sorted({submit.request_key for submit in submits if submit.request_key is not None}),
            sorted({op.sync_event_id for op in operations if not isinstance(op, SubmitOperation)}),
            sorted({submit.mentor_id for submit in submits}),
        )
