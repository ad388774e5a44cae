"""PostgreSQL's write transactions: set-based, in two round trips each, and certain of their COMMIT."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import psycopg
from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    PostgresqlDatabase,
    SmallIntegerField,
    TextField,
    fn,
)

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.models import THE_ROW, EventModel, LogModel, MentorModel
from mentorsync.storage.postgres.connections import CLOCK, TRANSIENT
from mentorsync.storage.rows import Concerns, Row, changes_of, event_from_row, mentor_from_row
from mentorsync.storage.statements import (
    HEAD_FIELDS,
    MUTABLE_EVENT_FIELDS,
    MUTABLE_MENTOR_FIELDS,
    LoadStatements,
    compiled,
)
from mentorsync.storage.store import Commit

RETRY_SECONDS = 3.0  # how long a batch outlasts an outage, well within a phone's patience
FIRST_PAUSE_SECONDS = 0.05  # before the first retry; each further pause is twice as long, less a random part
SELECT_LAST_BATCH = "SELECT last_batch FROM writers WHERE writer_id = %s"
PUT_LAST_BATCH = (
    "INSERT INTO writers (writer_id, last_batch, updated_at) VALUES (%s, %s, %s) "
    "ON CONFLICT (writer_id) DO UPDATE SET last_batch = EXCLUDED.last_batch, updated_at = EXCLUDED.updated_at"
)
# Each server start is a writer of its own. Nobody asks after one that has been silent for so long.
FORGET_WRITERS = "DELETE FROM writers WHERE updated_at < %s"
SILENT_WRITER_MICROSECONDS = 24 * 3_600 * 1_000_000
POSTGRES_TYPES = {TextField: "text", BigIntegerField: "bigint", SmallIntegerField: "smallint", BooleanField: "boolean"}
logger = logging.getLogger(__name__)


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the array given as the parameter."""
    return field == fn.ANY(SQL("%s"))


class _Unsettled(NamedTuple):
    """A batch whose COMMIT was sent and not answered."""

    number: int
    commit: Commit


class PostgresStore:
    """The writer's connection and its transactions, each in two round trips: lock and load, then write and commit."""

    def __init__(
        self, database: PostgresqlDatabase, clock: Callable[[], int] | None, new_event_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_event_id = new_event_id
        self._writer_id = secrets.token_hex(16)
        self._batch_number = 0
        self._unsettled: _Unsettled | None = None
        self._is_down = False
        self._load_statements = LoadStatements(database, member_of)
        self._lock_head = compiled(LogModel.select(*HEAD_FIELDS).where(THE_ROW).for_update(), database)
        self._update_head = compiled(LogModel.update(dict.fromkeys(HEAD_FIELDS, SQL("%s"))).where(THE_ROW), database)
        self._insert_events = _insert_sql(EventModel)
        self._update_events = _update_events_sql()
        self._put_mentors = _put_mentors_sql()

    def transact(self, operations: Sequence[Operation]) -> Commit:
        # While the database is down, whoever comes later is told at once, instead of waiting in vain for as long.
        give_up = time.monotonic() + (0 if self._is_down else RETRY_SECONDS)
        pause = FIRST_PAUSE_SECONDS
        self._unsettled = None
        was_late = False
        while True:
            try:
                commit = self._attempt(operations)
            except Exception as error:  # noqa: BLE001 - the transaction is to end, whatever it failed with
                remaining = max(give_up - time.monotonic(), 0)
                # What became of a COMMIT is looked up even when its answer was waited for in vain for all of that time.
                self._recover(error, may_retry=remaining > 0 or (self._unsettled is not None and not was_late))
                was_late = not remaining
                time.sleep(min(pause * random.uniform(0.5, 1), remaining))  # noqa: S311 - jitter
                pause *= 2
            else:
                self._is_down = False
                return commit

    def on_commit(self, commit: Commit) -> None:
        """Nothing: PostgreSQL has its own checkpoints."""

    def tidy(self) -> None:
        """Nothing: VACUUM is the database's own business."""

    def close(self) -> None:
        self._database.close()

    def _recover(self, error: Exception, *, may_retry: bool) -> None:
        """Leaves no transaction open, and raises what another attempt at this time would not mend."""
        is_transient = self._roll_back() or isinstance(error, TRANSIENT)
        text = str(error).strip()
        if not is_transient:
            raise error
        if not may_retry:
            self._is_down = True
            raise StorageUnavailableError(text) from error
        logger.warning("a write transaction is tried again: %s", text)

    def _roll_back(self) -> bool:
        """Ends the transaction and tells whether the connection was lost."""
        if self._database.is_closed():
            return True
        connection = self._database.connection()
        try:
            connection.rollback()
        except psycopg.Error:
            self._database.close()
            return True
        if connection.closed:
            self._database.close()
            return True
        return False

    def _attempt(self, operations: Sequence[Operation]) -> Commit:
        connection = self._database.connection()
        concerns = Concerns.of(operations)
        # One pipeline for both round trips. To leave it between them, psycopg would send a Flush after its Sync, and
        # PostgreSQL does not count the time until the next message after a Flush as idle in a transaction.
        with connection.pipeline() as pipeline:
            connection.execute("BEGIN")
            head = connection.execute(self._lock_head)
            # From here on in statements of their own: they see all that was committed before the lock was had.
            clock = connection.execute(CLOCK)
            last_batch = connection.execute(SELECT_LAST_BATCH, (self._writer_id,))
            loads = self._load(connection, concerns)
            pipeline.sync()
            if self._unsettled is not None and last_batch.fetchone() == (self._unsettled.number,):
                connection.execute("ROLLBACK")
                return self._unsettled.commit
            ledger = self._ledger(head.fetchone(), loads, self._clock() if self._clock else clock.fetchone()[0])
            clock_ahead = ledger.clock_ahead
            outcomes = ledger.apply_all(operations)
            commit = Commit(outcomes, ledger.head, clock_ahead, ledger.has_erased_text)
            self._commit(connection, ledger, commit)
        self._unsettled = None
        return commit

    def _load(self, connection: Any, concerns: Concerns) -> tuple[list[Any], list[Any]]:
        """The cursors that will hold the concerned mentors and events."""
        statements = self._load_statements

        def rows(sql: str, values: list[str]) -> list[Any]:
            return [connection.execute(sql, (values,))] if values else []

        mentors = rows(statements.mentors_by_id, concerns.mentor_ids)
        mentors += rows(statements.mentors_by_event_id, concerns.sync_event_ids)
        events = rows(statements.events_by_request_key, concerns.request_keys)
        events += rows(statements.events_by_id, concerns.sync_event_ids)
        return mentors, events

    def _ledger(self, head: Row, loads: tuple[list[Any], list[Any]], clock: int) -> Ledger:
        mentors, events = loads
        return Ledger(
            LogHead(*head),
            (mentor_from_row(row) for cursor in mentors for row in cursor),
            (event_from_row(row) for cursor in events for row in cursor),
            clock,
            self._new_event_id,
        )

    def _commit(self, connection: Any, ledger: Ledger, commit: Commit) -> None:
        """Sends what is left of the transaction; the end of the pipeline tells how it went."""
        if not ledger.has_changes:
            connection.execute("ROLLBACK")
            return
        self._batch_number += 1
        self._unsettled = _Unsettled(self._batch_number, commit)
        if ledger.new_events:
            connection.execute(self._insert_events, _columns(ledger.new_events.values()))
        if ledger.changed_events:
            connection.execute(self._update_events, _columns(map(changes_of, ledger.changed_events.values())))
        if ledger.changed_mentors:
            connection.execute(self._put_mentors, _columns(ledger.changed_mentors.values()))
        connection.execute(self._update_head, ledger.head)
        connection.execute(PUT_LAST_BATCH, (self._writer_id, self._batch_number, ledger.now))
        if self._batch_number == 1:
            connection.execute(FORGET_WRITERS, (ledger.now - SILENT_WRITER_MICROSECONDS,))
        connection.execute("COMMIT")


def _columns(rows: Iterable[Row]) -> list[list[Any]]:
    # psycopg writes an enum's name where its number is meant.
    return [
        [int(value) if isinstance(value, IntEnum) else value for value in column] for column in zip(*rows, strict=True)
    ]


def _unnested(fields: Sequence[Any]) -> str:
    """A FROM item that takes one array for each field."""
    return f"unnest({', '.join(f'%s::{POSTGRES_TYPES[type(field)]}[]' for field in fields)})"


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
