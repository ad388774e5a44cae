"""PostgreSQL's statements that load and save a batch: set-based, each with one array for each column."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

from peewee import SQL, BigIntegerField, BooleanField, SmallIntegerField, TextField, fn

from mentorsync.storage.models import EventModel, MentorModel
from mentorsync.storage.rows import Row
from mentorsync.storage.statements import MUTABLE_EVENT_FIELDS, MUTABLE_MENTOR_FIELDS

TYPES = {TextField: "text", BigIntegerField: "bigint", SmallIntegerField: "smallint", BooleanField: "boolean"}


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the array given as the parameter."""
    return field == fn.ANY(SQL("%s"))


def columns_of(rows: Iterable[Row]) -> list[list[Any]]:
    """The rows as one list for each column: the parameters of the statements below."""
    # psycopg writes an enum's name where its number is meant.
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
