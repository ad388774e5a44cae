"""SQLite's write transactions."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from peewee import EXCLUDED, SQL, SqliteDatabase

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.deciding import Loaded, decide
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.models import EventModel, LogModel, MentorModel
from mentorsync.storage.rows import BatchKeys, Row, changes_of
from mentorsync.storage.sqlite.checkpoints import FAILURES, Checkpoints
from mentorsync.storage.sqlite.file import DatabaseFile
from mentorsync.storage.statements import (
    HEAD_FIELDS,
    MUTABLE_EVENT_FIELDS,
    MUTABLE_MENTOR_FIELDS,
    LoadStatements,
    Query,
    compiled,
)
from mentorsync.storage.store import Commit
from mentorsync.time_limits import BUSY_SECONDS

EVENT_ID_DRAWS = 5  # an id is taken with odds under 1 in 100,000; five times in a row means another fault
PROBE_TRANSACTIONS = 16  # each adds one page to the write-ahead log; a write of one event adds 7 to 10
DISK_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)  # the second: no room for the log's index

logger = logging.getLogger(__name__)


def member_of(field: Any) -> Any:
    """The condition that a field's value is in the JSON array given as the parameter."""
    return field.in_(SQL("(SELECT value FROM json_each(?))"))


class SqliteStore:
    """The writer's connection and its transactions."""

    def __init__(
        self,
        database: SqliteDatabase,
        file: DatabaseFile,
        clock: Callable[[], int],
        new_event_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._file = file
        self._clock = clock
        self._new_event_id = new_event_id
        self._may_hold_erased_text = True  # a server that was killed may have left some in the write-ahead log
        self._checkpoints = Checkpoints(database, file.path)
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

    def transact(self, operations: Sequence[Operation]) -> Commit:
        self._file.check()
        try:
            return self._write_or_probe(operations)
        except sqlite3.IntegrityError:
            raise  # the failure of one operation, not of the database
        except FAILURES as error:
            if getattr(error, "sqlite_errorcode", None) not in DISK_FULL:
                raise StorageUnavailableError(str(error)) from error
        return self._transact_on_full_disk(operations)

    def on_commit(self, commit: Commit) -> None:
        self._may_hold_erased_text = self._may_hold_erased_text or commit.has_erased_text
        self._checkpoints.committed(len(commit.outcomes))

    def run_maintenance(self) -> None:
        """Empties the write-ahead log if it may hold erased text. If a reader prevents that, it is tried again."""
        if self._may_hold_erased_text:
            connection = self._connection()
            connection.execute("PRAGMA busy_timeout = 0")  # no write may wait while this waits for a reader
            try:
                self._may_hold_erased_text = not self._checkpoints.truncate()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")

    def close(self) -> None:
        self._checkpoints.close()
        self._database.close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._database.connection()
        return connection

    def _write_or_probe(self, operations: Sequence[Operation]) -> Commit:
        """Writes a batch. Without operations it is a probe, which fails if the disk has no room for a small write."""
        if not operations:
            for _ in range(PROBE_TRANSACTIONS - 1):
                self._transact(operations)
        return self._transact_with_unused_ids(operations)

    def _transact_with_unused_ids(self, operations: Sequence[Operation]) -> Commit:
        for _ in range(EVENT_ID_DRAWS):
            try:
                return self._transact(operations)
            except sqlite3.IntegrityError as error:
                taken = error
        raise taken

    def _transact_on_full_disk(self, operations: Sequence[Operation]) -> Commit:
        """Makes room by emptying the write-ahead log, and tries a batch once more."""
        try:
            self._checkpoints.truncate()
            commit = self._write_or_probe(operations)
        except FAILURES as error:
            raise StorageUnavailableError(str(error)) from error
        logger.warning("the disk is full: emptying the write-ahead log made room for more writes; free some space soon")
        return commit

    def _transact(self, operations: Sequence[Operation]) -> Commit:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            ledger, commit = decide(operations, self._load(connection, BatchKeys.of(operations)), self._new_event_id)
            if not operations:  # a probe must write, too: SQLite does not write a page that nothing has changed
                connection.execute("UPDATE log SET last_revision = last_revision + 1")
            if ledger.has_changes or not operations:
                self._save(connection, ledger)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        return commit

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:  # SQLite itself may have rolled back
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._database.close()  # the next batch opens a new connection

    def _load(self, connection: sqlite3.Connection, keys: BatchKeys) -> Loaded:
        statements = self._load_statements

        def rows(queries: list[Query]) -> list[Row]:
            return [row for sql, values in queries for row in connection.execute(sql, (json_array(values),))]

        mentors, events = rows(statements.mentors(keys)), rows(statements.events(keys))
        return Loaded(LogHead(*connection.execute(self._select_head).fetchone()), mentors, events, self._clock())

    def _save(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        connection.executemany(self._insert_event, ledger.new_events.values())
        if ledger.changed_events:
            connection.executemany(self._update_event, map(changes_of, ledger.changed_events.values()))
        connection.executemany(self._put_mentor, ledger.changed_mentors.values())
        connection.execute(self._update_head, ledger.head)


def json_array(values: list[str]) -> str:
    # Request keys, event ids and mentor ids contain no character that JSON would escape.
    return '["' + '","'.join(values) + '"]'
