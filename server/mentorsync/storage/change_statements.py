"""The statements of the live feed's reads. Each row begins with the log's position, and has NULLs where nothing is."""

import json
from collections.abc import Sequence
from typing import Any

from peewee import JOIN, SQL, Database, Select, fn

from mentorsync.storage.change_reader import EventChange, LogPosition
from mentorsync.storage.models import PENDING, THE_HISTORY, EventModel, HistoryModel, LogModel, MentorModel
from mentorsync.storage.statements import OF_THE_MENTOR, PUBLISHED_FIELDS, SNAPSHOT_EVENTS, compiled

CHANGE_FIELDS = (  # those of EventChange, in its order
    EventModel.revision,
    EventModel.sequence,
    EventModel.sync_event_id,
    EventModel.mentor_id,
    EventModel.event_type,
    EventModel.resulting_status,
    EventModel.server_timestamp,
    EventModel.acknowledged,
    EventModel.accepted,
    SQL("deleted_at IS NOT NULL").alias("deleted"),
    EventModel.updated_at.alias("changed_at"),
    MentorModel.status.alias("mentor_status"),
)
SNAPSHOT_FIELDS = (MentorModel.mentor_id, MentorModel.status, MentorModel.last_updated)
LAST_SEQUENCE = SQL(str(2**63 - 1))  # the highest that a column can hold


class ChangeStatements:
    """The SQL of the live feed's reads on SQLite. The comments give the parameters, the same on every engine."""

    def __init__(self, database: Database) -> None:
        parameter = SQL(database.param)
        position = HistoryModel.select(HistoryModel.epoch, LogModel.last_revision, HistoryModel.purged_revision)
        position = position.join(LogModel, JOIN.CROSS).where(THE_HISTORY).alias("position")
        self.position = compiled(Select([position], position_columns(position)), database)

        # Parameters: revision, limit.
        self.changes_after = compiled(joined(position, changes_after(parameter), "revision"), database)

        # Parameters: sequence, limit.
        self.pending_after = compiled(joined(position, pending_after(parameter), "sequence"), database)

        # Parameters: mentor_id, sequence, limit.
        events = pending_after(parameter, EventModel.mentor_id == parameter)
        self.mentor_pending_after = compiled(joined(position, events, "sequence"), database)

        # Parameter: the list of mentor ids.
        mentors = MentorModel.mentor_id.in_(SQL("(SELECT value FROM json_each(?))"))
        events = OF_THE_MENTOR & PENDING & (EventModel.sequence <= _last_of_snapshot())
        columns = [*position_columns(position), *SNAPSHOT_FIELDS, *PUBLISHED_FIELDS]
        query = Select([position], columns).join(MentorModel, JOIN.LEFT_OUTER, on=mentors)
        query = query.join(EventModel, JOIN.LEFT_OUTER, on=events)
        self.snapshots = compiled(query.order_by(MentorModel.mentor_id, EventModel.sequence), database)

    @staticmethod
    def list_parameter(values: Sequence[str]) -> str:
        return json.dumps(values)


def changes_after(parameter: SQL) -> Any:
    """The first changes after a revision, as a subquery."""
    query = _changes(EventModel.revision > parameter)
    return query.order_by(EventModel.revision).limit(parameter).alias("changes")


def pending_after(parameter: SQL, *conditions: Any) -> Any:
    """The first pending events under further conditions and after a sequence, as a subquery."""
    query = _changes(PENDING, *conditions, EventModel.sequence > parameter)
    return query.order_by(EventModel.sequence).limit(parameter).alias("changes")


def joined(position: Any, changes: Any, order: str, join_type: str = JOIN.LEFT_OUTER) -> Any:
    """The position with each of the changes, or with NULLs where there is none."""
    columns = [*position_columns(position), *(getattr(changes.c, name) for name in EventChange._fields)]
    query = Select([position], columns).join(changes, join_type, on=SQL("TRUE"))
    return query.order_by(getattr(changes.c, order))


def position_columns(position: Any) -> list[Any]:
    return [getattr(position.c, name) for name in LogPosition._fields]


def _changes(*conditions: Any) -> Any:
    return EventModel.select(*CHANGE_FIELDS).join(MentorModel, on=OF_THE_MENTOR).where(*conditions)


def _last_of_snapshot() -> Any:
    """The sequence of the last event that the mentor's snapshot shows."""
    pending = EventModel.alias("pending")
    query = pending.select(pending.sequence).where(PENDING, pending.mentor_id == MentorModel.mentor_id)
    query = query.order_by(pending.sequence).limit(SQL("1")).offset(SQL(str(SNAPSHOT_EVENTS - 1)))
    return fn.COALESCE(query, LAST_SEQUENCE)
