"""PostgreSQL: many processes, one log. Whoever writes locks the log's row first, so that commits have one order."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NamedTuple

import peewee
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
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from mentorsync.domain.ledger import Ledger, draw_event_id
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.models import EventModel, LogModel, MentorModel
from mentorsync.storage.reader import Reader
from mentorsync.storage.rows import Concerns, Row, changes_of, event_from_row, mentor_from_row
from mentorsync.storage.statements import (
    HEAD_FIELDS,
    MUTABLE_EVENT_FIELDS,
    MUTABLE_MENTOR_FIELDS,
    LoadStatements,
    ReadStatements,
    compiled,
)
from mentorsync.storage.urls import without_credentials
from mentorsync.storage.writer import Batch

READ_THREADS = 4  # each with a connection of its own; more only queue for the interpreter
MIGRATION_LOCK = 0x6D656E746F72  # any number that nobody else's advisory locks use: "mentor"
RETRY_SECONDS = 3.0  # how long a batch outlasts an outage, well within a phone's patience
SILENCE_SECONDS = 6.0  # a server that does not answer for longer than any lock is waited for, is as good as away
FIRST_PAUSE_SECONDS = 0.05  # before the first retry; each further pause is twice as long, less a random part
# What a URL does not say itself.
CONNECTION: dict[str, Any] = {
    "application_name": "mentorsync",
    "connect_timeout": 2,  # seconds
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
OPTIONS = (
    # A frozen replica must not keep the log from all others: the server ends its transaction after 2 s, and the others
    # wait for the lock for longer than two of them can keep it.
    "-c idle_in_transaction_session_timeout=2s -c lock_timeout=5s "
    "-c default_transaction_isolation=read\\ committed "
    # Every statement has its index. A plan made while the tables were empty would scan them, and be kept as they grow;
    # and of a page of unknown size the planner expects so much that it would compile the query to machine code.
    "-c enable_seqscan=off -c jit=off"
)
CLOCK = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
SELECT_LAST_BATCH = "SELECT last_batch FROM writers WHERE writer_id = %s"
PUT_LAST_BATCH = (
    "INSERT INTO writers (writer_id, last_batch, updated_at) VALUES (%s, %s, %s) "
    "ON CONFLICT (writer_id) DO UPDATE SET last_batch = EXCLUDED.last_batch, updated_at = EXCLUDED.updated_at"
)
# Each server start is a writer of its own. Nobody asks after one that has been silent for so long.
FORGET_WRITERS = "DELETE FROM writers WHERE updated_at < %s"
SILENT_WRITER_MICROSECONDS = 24 * 3_600 * 1_000_000
POSTGRES_TYPES = {TextField: "text", BigIntegerField: "bigint", SmallIntegerField: "smallint", BooleanField: "boolean"}
# What another attempt may mend: a lost connection, a transaction that had to give way (40001, 40P01, 55P03), an id that
# was taken, a server that is no longer the primary.
TRANSIENT = (
    peewee.OperationalError,  # when connecting
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.UniqueViolation,
    errors.ReadOnlySqlTransaction,
)
FAILURES = (psycopg.Error, peewee.DatabaseError)

logger = logging.getLogger(__name__)


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the array given as the parameter."""
    return field == fn.ANY(SQL("%s"))


class _ImpatientConnection(psycopg.Connection[Any]):
    """Ends when the server is silent for too long: one that stands still keeps its connections up."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, SILENCE_SECONDS if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001 - psycopg has no other name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the database was silent for {SILENCE_SECONDS:g} s") from error


class _Database(PostgresqlDatabase):
    """Remembers its connections, one for each thread, so that all can be closed at the end."""

    def __init__(self, url: str) -> None:
        super().__init__(url, prefer_psycopg3=True)
        self.connection_type: type[psycopg.Connection[Any]] = psycopg.Connection
        self._opened: set[psycopg.Connection[Any]] = set()  # what a thread has open would go with it, unclosed

    def _connect(self) -> psycopg.Connection[Any]:
        given = conninfo_to_dict(self.database)
        options = f"{OPTIONS} {given.get('options') or ''}"
        parameters: dict[str, Any] = CONNECTION | given | {"options": options}
        connection = self.connection_type.connect("", autocommit=True, **parameters)
        self._opened.add(connection)
        return connection

    def _close(self, connection: psycopg.Connection) -> None:
        self._opened.discard(connection)
        super()._close(connection)  # type: ignore[misc]

    def close_everywhere(self) -> None:
        while self._opened:
            self._opened.pop().close()


class PostgresEngine:
    """The database behind a URL, which may name several hosts.

    `clock` (None: the database's) and `new_event_id` are for tests.
    """

    is_shared = True

    def __init__(
        self, url: str, clock: Callable[[], int] | None = None, new_event_id: Callable[[], str] = draw_event_id
    ) -> None:
        self._url = url
        self.database = _Database(url)
        self.clock = clock or self._database_clock
        self._given_clock = clock
        self._new_event_id = new_event_id
        self._executor = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._deep_executor = ThreadPoolExecutor(1, thread_name_prefix="deep-page")

    def __str__(self) -> str:
        return without_credentials(self._url)

    def check(self) -> None:
        """Raises StorageSetupError when the database cannot be reached."""
        try:
            self.database.execute_sql("SELECT 1")
        except peewee.ProgrammingError as error:  # its text may hold what it did not understand: a password
            raise StorageSetupError(f"{self}: PostgreSQL does not understand this URL's options") from error
        except Exception as error:
            raise StorageSetupError(f"{self} cannot be reached: {' '.join(str(error).split())}") from error

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Any number of servers may run. Their connections are impatient, unlike those of migrations."""
        self.database.connection_type = _ImpatientConnection
        yield

    @contextmanager
    def migrating(self) -> Iterator[None]:
        with self.database.atomic():
            self.database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            yield

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        with self.database.atomic(), self.database.bind_ctx([LogModel]):
            LogModel.select().for_update().execute()
            yield

    def open_store(self) -> "PostgresStore":
        return PostgresStore(self.database, self._given_clock, self._new_event_id)

    def open_reader(self) -> Reader:
        return Reader(self._query, ReadStatements(self.database), self._executor, self._deep_executor)

    def close(self) -> None:
        self._executor.shutdown()
        self._deep_executor.shutdown()
        self.database.close_everywhere()

    def _database_clock(self) -> int:
        microseconds: int = self.database.execute_sql(CLOCK).fetchone()[0]
        return microseconds

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        try:
            return self._query_once(sql, parameters)
        except TRANSIENT:
            self.database.close()  # it may just be an old connection: a new one tells
        try:
            return self._query_once(sql, parameters)
        except FAILURES as error:
            self.database.close()
            raise StorageUnavailableError(str(error).strip()) from error

    def _query_once(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        rows: list[Row] = self.database.connection().execute(sql, parameters).fetchall()
        return rows


class _Unsettled(NamedTuple):
    """A batch whose COMMIT was sent and not answered."""

    number: int
    batch: Batch


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
        self._lock_head = compiled(LogModel.select(*HEAD_FIELDS).for_update(), database)
        self._update_head = compiled(LogModel.update(dict.fromkeys(HEAD_FIELDS, SQL("%s"))), database)
        self._insert_events = _insert_sql(EventModel)
        self._update_events = _update_events_sql()
        self._put_mentors = _put_mentors_sql()

    def transact(self, operations: Sequence[Operation]) -> Batch:
        # While the database is down, whoever comes later is told at once, instead of waiting in vain for as long.
        give_up = time.monotonic() + (0 if self._is_down else RETRY_SECONDS)
        pause = FIRST_PAUSE_SECONDS
        self._unsettled = None
        while True:
            try:
                batch = self._attempt(operations)
            except Exception as error:  # noqa: BLE001 - the transaction is to end, whatever it failed with
                self._recover(error, may_retry=time.monotonic() < give_up)
                time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
                pause *= 2
            else:
                self._is_down = False
                return batch

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

    def _attempt(self, operations: Sequence[Operation]) -> Batch:
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
                return self._unsettled.batch
            ledger = self._ledger(head.fetchone(), loads, self._clock() if self._clock else clock.fetchone()[0])
            clock_ahead = ledger.clock_ahead
            batch = Batch(ledger.apply_all(operations), clock_ahead)
            self._commit(connection, ledger, batch)
        self._unsettled = None
        return batch

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

    def _commit(self, connection: Any, ledger: Ledger, batch: Batch) -> None:
        """Sends what is left of the transaction; the end of the pipeline tells how it went."""
        if not ledger.has_changes:
            connection.execute("ROLLBACK")
            return
        self._batch_number += 1
        self._unsettled = _Unsettled(self._batch_number, batch)
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
