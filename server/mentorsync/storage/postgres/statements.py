"""PostgreSQL's statements: the reads, and those that load and save a batch, with one array for each column."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

from peewee import JOIN, SQL, BigIntegerField, BooleanField, Database, Select, SmallIntegerField, TextField, fn

from mentorsync.storage.models import EventModel, HeadModel, MentorModel
from mentorsync.storage.rows import Row
from mentorsync.storage.statements import (
    MUTABLE_EVENT_FIELDS,
    MUTABLE_MENTOR_FIELDS,
    OF_THE_MENTOR,
    PUBLISHED_FIELDS,
    SNAPSHOT_EVENT_FIELDS,
    SNAPSHOT_HEAD,
    SNAPSHOT_LIMIT,
    compiled,
    page,
    page_from_end,
    pending,
    published,
)

TYPES = {TextField: "text", BigIntegerField: "bigint", SmallIntegerField: "smallint", BooleanField: "boolean"}


class PostgresReadStatements:
    """The SQL of the reads. Their parameters are those of ReadStatements.

    A page of all events starts at the head's `first_pending`: while an old snapshot is open, the index of pending
    events may hold any number of dead entries before it. A mentor's own entries are few.
    """

    def __init__(self, database: Database) -> None:
        parameter = SQL(database.param)
        head = newest_head(HeadModel.pending_total, HeadModel.first_pending).alias("head")
        not_before = EventModel.sequence >= head.c.first_pending
        self.page = compiled(_head_and(page(parameter, head.c.pending_total, not_before), head), database)
        self.filled_page = self.page  # as fast
        self.page_from_end = compiled(_head_and(page_from_end(parameter, head.c.pending_total), head), database)

        this_mentor = MentorModel.mentor_id == parameter
        its_total = MentorModel.select(MentorModel.pending_total).where(this_mentor)
        events = page(parameter, its_total, EventModel.mentor_id == parameter)
        query = _mentor_and((MentorModel.pending_total,), events, PUBLISHED_FIELDS).where(this_mentor)
        self.mentor_page = compiled(query, database)

        events = pending(SNAPSHOT_LIMIT, OF_THE_MENTOR).alias("pending")
        query = _mentor_and(SNAPSHOT_HEAD, events, SNAPSHOT_EVENT_FIELDS).where(this_mentor)
        self.snapshot = compiled(query, database)

        self.probe = compiled(newest_head(HeadModel.last_revision), database)


def newest_head(*fields: Any) -> Any:
    return HeadModel.select(*fields).order_by(HeadModel.last_revision.desc()).limit(SQL("1"))


def _head_and(events: Any, head: Any) -> Any:
    query = Select([head], [head.c.pending_total, *published(events)])
    return query.join(events, JOIN.LEFT_LATERAL, on=SQL("TRUE")).order_by(events.c.sequence)


def _mentor_and(mentor_fields: Sequence[Any], events: Any, event_fields: Sequence[Any]) -> Any:
    query = MentorModel.select(*mentor_fields, *published(events, event_fields))
    return query.join(events, JOIN.LEFT_LATERAL, on=SQL("TRUE")).order_by(events.c.sequence)


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the array given as the parameter."""
    return field == fn.ANY(SQL("%s"))


def columns_of(rows: Iterable[Row]) -> list[list[Any]]:
    """The rows as one list for each column: the parameters of the statements below."""
    # psycopg would send an enum's name instead of its number.
    return [
        [int(value) if isinstance(value, IntEnum) else value for value in column] for column in zip(*rows, strict=True)
    ]


def _unnested(fields: Sequence[Any]) -> str:
    """A FROM item that takes one array for each field."""
    return f"unnest({', '.join(f'%s::{TYPES[type(field)]}[]' for field in fields)})"


def _names(fields: Sequence[Any]) -> str:
    return ", ".join(field.column_name for field in fields)


def _insert_sql(model: Any) -> str:
    fields = model._meta.sorted_fields  # noqa: SLF001 - Peewee's documented way to a model's fields
    return f"INSERT INTO {model._meta.table_name} ({_names(fields)}) SELECT * FROM {_unnested(fields)}"  # noqa: S608, SLF001 - of our own names


def _put_mentors_sql() -> str:
    changes = ", ".join(f"{field.column_name} = EXCLUDED.{field.column_name}" for field in MUTABLE_MENTOR_FIELDS)
    return f"{_insert_sql(MentorModel)} ON CONFLICT (mentor_id) DO UPDATE SET {changes}"


def _update_events_sql() -> str:
    changes = ", ".join(f"{field.column_name} = new.{field.column_name}" for field in MUTABLE_EVENT_FIELDS)
    fields = (*MUTABLE_EVENT_FIELDS, EventModel.sequence)
    return (
        f"UPDATE events SET {changes} FROM {_unnested(fields)} AS new ({_names(fields)}) "  # noqa: S608 - of our own names
        "WHERE events.sequence = new.sequence"
    )


INSERT_EVENTS = _insert_sql(EventModel)
UPDATE_EVENTS = _update_events_sql()  # parameters: the columns of rows.changes_of
PUT_MENTORS = _put_mentors_sql()
