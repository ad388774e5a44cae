"""PostgreSQL: many processes, one log. Each write transaction takes the log's lock first: commits have one order."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import peewee
from psycopg.errors import LockNotAvailable

from mentorsync.domain.ledger import draw_event_id
from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.postgres.change_statements import EPOCH, PostgresChangeStatements
from mentorsync.storage.postgres.connections import (
    CLOCK,
    ENCODINGS,
    FAILURES,
    READ_OPTIONS,
    TOO_SLOW,
    TRANSIENT,
    Database,
    ImpatientConnection,
)
from mentorsync.storage.postgres.heads import LOCK_LOG
from mentorsync.storage.postgres.statements import PostgresReadStatements
from mentorsync.storage.postgres.store import PostgresStore
from mentorsync.storage.reader import Reader
from mentorsync.storage.rows import Row
from mentorsync.storage.urls import misunderstood, without_credentials
from mentorsync.storage.waiting import reported_wait

READ_THREADS = 4  # each with a connection of its own; more only queue for the interpreter
CHANGE_READ_THREADS = 3  # one for the tail of the log, and two for those who catch up with it
MIGRATION_LOCK = 0x6D656E746F72  # an advisory lock's key, which no other program is likely to use: "mentor"


class PostgresEngine:
    """The database behind a URL, which may name several hosts.

    `clock` (None: the database's) and `new_event_id` are for tests.
    """

    is_shared = True
    epoch = EPOCH
    failures = FAILURES

    def __init__(
        self, url: str, clock: Callable[[], int] | None = None, new_event_id: Callable[[], str] = draw_event_id
    ) -> None:
        self._url = url
        self.database = Database(url)
        self._read_database = Database(url, READ_OPTIONS)
        self.clock = clock or self._database_clock
        self._given_clock = clock
        self._new_event_id = new_event_id
        self._executor = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._change_executor = ThreadPoolExecutor(CHANGE_READ_THREADS, thread_name_prefix="change")
        self._deep_executor = ThreadPoolExecutor(1, thread_name_prefix="deep-page")

    def __str__(self) -> str:
        return without_credentials(self._url)

    def create(self) -> str:
        """Creates nothing: an administrator creates the database."""
        return ""

    def check(self) -> None:
        """Raises StorageSetupError when the database cannot be reached, or cannot store every text."""
        try:
            self.database.execute_sql("SELECT 1")
        except peewee.ProgrammingError as error:  # its text may quote a part of the URL: a password
            problem = misunderstood(self._url, str(error))
            raise StorageSetupError(f"{self}: PostgreSQL does not understand {problem}") from error
        except Exception as error:
            raise StorageSetupError(f"{self} cannot be reached: {' '.join(str(error).split())}") from error
        encoding = self.database.connection().info.parameter_status("server_encoding")
        if encoding not in ENCODINGS:
            raise StorageSetupError(
                f"{self} has the encoding {encoding}, which lacks characters: use a database with the encoding UTF8"
            )

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Any number of servers may run. Their connections limit the wait for an answer; those of migrations do not."""
        self.database.close()  # this thread has checked the schema and no longer needs the connection
        self.database.connection_type = self._read_database.connection_type = ImpatientConnection
        yield

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Waits for another migration without a limit. Waits for the locks on tables no longer than a write would.

        While a migration waits for a table's lock, no other transaction can use the table.
        """
        with self.database.atomic():
            self.database.execute_sql("SET LOCAL lock_timeout = 0")
            with reported_wait(f"{self}: another migration is running; waiting until it has ended"):
                self.database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            self.database.execute_sql("SET LOCAL lock_timeout = DEFAULT")
            with self._table_locks():
                yield

    @contextmanager
    def _table_locks(self) -> Iterator[None]:
        try:
            yield
        except peewee.OperationalError as error:
            if not isinstance(error.__context__, LockNotAvailable):
                raise
            raise StorageSetupError(
                f"{self}: another transaction, such as a backup's, kept its tables locked: nothing was changed; "
                "end it, then migrate again"
            ) from error

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        with self.database.atomic():
            self.database.execute_sql(LOCK_LOG)
            yield

    def open_store(self) -> PostgresStore:
        return PostgresStore(self.database, self._given_clock, self._new_event_id)

    def open_reader(self) -> Reader:
        return Reader(self._query, PostgresReadStatements(self.database), self._executor, self._deep_executor)

    def open_change_reader(self) -> ChangeReader:
        return ChangeReader(self._query, PostgresChangeStatements(self.database), self._change_executor)

    def close_connection(self) -> None:
        """Does nothing: only threads of this engine have connections."""

    def close(self) -> None:
        self._executor.shutdown()
        self._change_executor.shutdown()
        self._deep_executor.shutdown()
        self.database.close_everywhere()
        self._read_database.close_everywhere()

    def _database_clock(self) -> int:
        microseconds: int = self.database.execute_sql(CLOCK).fetchone()[0]
        return microseconds

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        try:
            return self._query_once(sql, parameters)
        except TOO_SLOW as error:
            raise self._unavailable(error) from error
        except TRANSIENT:
            self._read_database.close()  # an old connection may have been lost: a new one may work
        try:
            return self._query_once(sql, parameters)
        except FAILURES as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StorageUnavailableError:
        self._read_database.close()
        return StorageUnavailableError(str(error).strip())

    def _query_once(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        rows: list[Row] = self._read_database.connection().execute(sql, parameters).fetchall()
        return rows
