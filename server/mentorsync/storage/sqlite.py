"""SQLite: one process, one file, WAL with synchronous=FULL, so that an answered write survives a power cut."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from peewee import EXCLUDED, SQL, PeeweeException, SqliteDatabase

from mentorsync.domain.ledger import Ledger, draw_event_id
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.checkpoints import FAILURES, Checkpoints
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
from mentorsync.storage.writer import Batch

BUSY_SECONDS = 5  # how long a write waits for a purge to end its small batch
LOCKED_PAUSE_SECONDS = 0.01  # before a new file that others are opening, too, is opened again
EVENT_ID_DRAWS = 5  # an id is taken with odds under 1 in 100,000; five times in a row means another fault
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "secure_delete": 1,  # overwrites the text of a deleted reason
    "cache_size": -16_384,  # KiB
    "wal_autocheckpoint": 16_000,  # pages, 64 MB: in case that those beside the writer cannot keep up
}


def system_clock() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the JSON array given as the parameter."""
    return field.in_(SQL("(SELECT value FROM json_each(?))"))


def _give_way() -> None:
    """Lets this thread run only while no other wants to: to Linux, each thread has a scheduler of its own."""
    with suppress(OSError):  # a container may refuse it; pages far in are then felt by others
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class SqliteEngine:
    """The database in one file. `clock` and `new_event_id` are for tests."""

    is_shared = False

    def __init__(
        self, path: Path, clock: Callable[[], int] = system_clock, new_event_id: Callable[[], str] = draw_event_id
    ) -> None:
        self.path = path
        self.clock = clock
        self._new_event_id = new_event_id
        self.database = SqliteDatabase(str(path), pragmas=PRAGMAS, timeout=BUSY_SECONDS)
        self._deep_executor = ThreadPoolExecutor(1, thread_name_prefix="deep-page", initializer=_give_way)

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"

    def check(self) -> None:
        """Raises StorageSetupError when the file cannot serve as the database."""
        give_up = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.database.connect(reuse_if_open=True)
                self.database.execute_sql("SELECT 1 FROM sqlite_master").fetchone()
            except Exception as error:
                # Who makes a new file a WAL one does not wait for others who are at the same.
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise StorageSetupError(f"the database file {self.path} cannot be opened: {error}") from error
                time.sleep(LOCKED_PAUSE_SECONDS)
            else:
                return

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Keeps a second server off the file, for as long as this process lives at the most.

        The lock lies on a file of its own: closing any descriptor of the database file would drop SQLite's own locks.
        """
        with self._open_lock_file() as lock_file:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageSetupError(
                    f"another server is running on the database file {self.path}; "
                    "SQLite serves one process: stop the other one, or use another file"
                ) from error
            self._check_writable()
            yield

    def _check_writable(self) -> None:
        try:
            with self.write_transaction():
                self.database.execute_sql("UPDATE log SET id = id")
        except PeeweeException as error:
            raise StorageSetupError(f"the database file {self.path} cannot be written: {error}") from error

    def _open_lock_file(self) -> TextIO:
        path = self.path.with_name(self.path.name + ".lock")
        try:
            return path.open("w")
        except OSError as error:
            raise StorageSetupError(f"the lock file {path} cannot be opened: {error.strerror}") from error

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        with self.database.atomic("IMMEDIATE"):
            yield

    migrating = write_transaction

    def open_store(self) -> "SqliteStore":
        return SqliteStore(self.database, self.clock, self._new_event_id)

    def open_reader(self) -> Reader:
        return Reader(self._query, ReadStatements(self.database, limits_joins=True), None, self._deep_executor)

    def close(self) -> None:
        """Closes the calling thread's connection, and the deep pages' with its thread."""
        self._deep_executor.submit(self.database.close)
        self._deep_executor.shutdown()
        self.database.close()

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        try:
            return list(self.database.connection().execute(sql, parameters))
        except FAILURES as error:
            raise StorageUnavailableError(str(error)) from error


class SqliteStore:
    """The writer's connection and its transactions."""

    def __init__(self, database: SqliteDatabase, clock: Callable[[], int], new_event_id: Callable[[], str]) -> None:
        self._database = database
        self._clock = clock
        self._new_event_id = new_event_id
        self._has_erased = False
        self._checkpoints = Checkpoints(database)
        parameter = SQL("?")
        self._load_statements = LoadStatements(database, member_of)
        self._select_head = compiled(LogModel.select(*HEAD_FIELDS), database)
        self._update_head = compiled(LogModel.update(dict.fromkeys(HEAD_FIELDS, parameter)), database)
        fields = EventModel._meta.sorted_fields  # noqa: SLF001 - Peewee's documented way to a model's fields
        self._insert_event = compiled(EventModel.insert(dict.fromkeys(fields, parameter)), database)
        changes = EventModel.update(dict.fromkeys(MUTABLE_EVENT_FIELDS, parameter))
        self._update_event = compiled(changes.where(EventModel.sequence == parameter), database)
        put_mentor = MentorModel.insert(
            dict.fromkeys((MentorModel.mentor_id, *MUTABLE_MENTOR_FIELDS), parameter)
        ).on_conflict(
            conflict_target=[MentorModel.mentor_id],
            update={field: getattr(EXCLUDED, field.column_name) for field in MUTABLE_MENTOR_FIELDS},
        )
        self._put_mentor = compiled(put_mentor, database)

    def transact(self, operations: Sequence[Operation]) -> Batch:
        for _ in range(EVENT_ID_DRAWS):
            try:
                return self._transact(operations)
            except sqlite3.IntegrityError as error:
                taken = error
            except FAILURES as error:
                raise StorageUnavailableError(str(error)) from error
        raise taken

    def tidy(self) -> None:
        """Empties the write-ahead log once text was erased, so that no copy of it stays there."""
        if self._has_erased:
            connection = self._connection()
            connection.execute("PRAGMA busy_timeout = 0")  # no write is to wait while this waits for a reader
            try:
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._has_erased = bool(busy)
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")

    def close(self) -> None:
        self._checkpoints.close()
        self._database.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._database.connection()
        return connection

    def _transact(self, operations: Sequence[Operation]) -> Batch:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            ledger = self._load(connection, Concerns.of(operations))
            clock_ahead = ledger.clock_ahead
            outcomes = ledger.apply_all(operations)
            if ledger.has_changes:
                self._save(connection, ledger)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        self._checkpoints.committed(len(operations))
        self._has_erased = self._has_erased or ledger.has_erased_text
        return Batch(outcomes, clock_ahead)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:  # SQLite itself may have rolled back
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._database.close()  # the next batch starts on a new connection

    def _load(self, connection: sqlite3.Connection, concerns: Concerns) -> Ledger:
        statements = self._load_statements

        def rows(sql: str, values: list[str]) -> list[Row]:
            return connection.execute(sql, (json_array(values),)).fetchall() if values else []

        events = rows(statements.events_by_request_key, concerns.request_keys)
        events += rows(statements.events_by_id, concerns.sync_event_ids)
        mentors = rows(statements.mentors_by_id, concerns.mentor_ids)
        mentors += rows(statements.mentors_by_event_id, concerns.sync_event_ids)
        head = LogHead(*connection.execute(self._select_head).fetchone())
        return Ledger(
            head, map(mentor_from_row, mentors), map(event_from_row, events), self._clock(), self._new_event_id
        )

    def _save(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        connection.executemany(self._insert_event, ledger.new_events.values())
        if ledger.changed_events:
            connection.executemany(self._update_event, map(changes_of, ledger.changed_events.values()))
        connection.executemany(self._put_mentor, ledger.changed_mentors.values())
        connection.execute(self._update_head, ledger.head)


def json_array(values: list[str]) -> str:
    # Request keys, event ids and mentor ids hold no character that JSON would escape.
    return '["' + '","'.join(values) + '"]'
