"""PostgreSQL's write transactions: set-based, in two round trips each. The outcome of a lost COMMIT is looked up."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from peewee import PostgresqlDatabase
from psycopg.errors import ReadOnlySqlTransaction

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.storage.deciding import Loaded, decide
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.postgres import heads
from mentorsync.storage.postgres.connections import CLOCK, FAILURES, TRANSIENT
from mentorsync.storage.postgres.heads import SELECT_HEAD, SELECT_NEXT_HEAD, WRITE_NOTHING, Head, insert_head
from mentorsync.storage.postgres.statements import INSERT_EVENTS, PUT_MENTORS, UPDATE_EVENTS, columns_of, member_of
from mentorsync.storage.postgres.trimming import HeadTrimmer
from mentorsync.storage.rows import BatchKeys, changes_of
from mentorsync.storage.statements import LoadStatements
from mentorsync.storage.store import Commit
from mentorsync.time_limits import RETRY_SECONDS

FIRST_PAUSE_SECONDS = 0.05  # before the first retry; each further pause is twice as long, less a random part
WRITER_ID_BITS = 63  # a BIGINT: no two server starts draw the same

logger = logging.getLogger(__name__)


class _UnknownCommit(NamedTuple):
    """A batch whose COMMIT was sent on `connection`, and not answered. before: the log's head before the batch."""

    before: Head
    commit: Commit
    connection: Any


class PostgresStore:
    """The writer's connection and its transactions.

    Each takes two round trips: the first takes the log's lock and loads, the second saves and commits.
    """

    def __init__(
        self, database: PostgresqlDatabase, clock: Callable[[], int] | None, new_event_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_event_id = new_event_id
        self._writer_id = secrets.randbits(WRITER_ID_BITS)
        self._unknown: _UnknownCommit | None = None
        self._is_down = False
        self._load_statements = LoadStatements(database, member_of)
        self._trimmer = HeadTrimmer(database)

    def transact(self, operations: Sequence[Operation]) -> Commit:
        # While the database is unavailable, later batches fail at once instead of waiting for as long as the first did.
        give_up = time.monotonic() + (0 if self._is_down else RETRY_SECONDS)
        pause = FIRST_PAUSE_SECONDS
        self._unknown = None
        was_late = False
        while True:
            try:
                commit = self._attempt(operations)
            except Exception as error:  # noqa: BLE001 - the transaction must end after any failure
                is_transient = self._roll_back() or isinstance(error, TRANSIENT)
                remaining = max(give_up - time.monotonic(), 0)
                # The outcome of a COMMIT is looked up once, even if waiting for its answer took all of the time.
                may_retry = remaining > 0 or (self._unknown is not None and not was_late)
                self._recover(error, is_transient=is_transient, may_retry=may_retry)
                was_late = not remaining
                time.sleep(min(pause * random.uniform(0.5, 1), remaining))  # noqa: S311 - jitter
                pause *= 2
            else:
                self._is_down = False
                return commit

    def on_commit(self, commit: Commit) -> None:
        """Removes a few old heads of the log, once in many commits."""
        self._trim(lambda: self._trimmer.committed(commit.head.last_revision))

    def run_maintenance(self) -> None:
        """Removes a few old heads of the log."""
        if not self._is_down:
            self._trim(self._trimmer.step)

    def close(self) -> None:
        self._database.close()

    def _trim(self, step: Callable[[], None]) -> None:
        try:
            step()
        except FAILURES as error:
            self._roll_back()
            logger.warning("old heads of the log were not removed; this is tried again later: %s", str(error).strip())

    def _recover(self, error: Exception, *, is_transient: bool, may_retry: bool) -> None:
        """Prepares another attempt. Raises an exception if the batch is not to be tried again now."""
        if isinstance(error, ReadOnlySqlTransaction):
            self._database.close()  # a new connection may lead to the primary
        text = str(error).strip()
        if not is_transient:
            raise error
        if not may_retry:
            self._is_down = True
            raise StorageUnavailableError(text) from error
        logger.warning("a write transaction failed and is tried again: %s", text)

    def _roll_back(self) -> bool:
        """Ends the transaction, and returns whether the connection was lost."""
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
        if self._unknown is not None and self._unknown.connection is connection:
            self._unknown = None  # PostgreSQL refused a statement of the batch, and so its COMMIT
        return False

    def _attempt(self, operations: Sequence[Operation]) -> Commit:
        connection = self._database.connection()
        # One pipeline for both round trips. To leave it between them, psycopg would send a Flush after its Sync, and
        # PostgreSQL does not count the time until the next message after a Flush as idle in a transaction.
        with connection.pipeline() as pipeline:
            connection.execute("BEGIN")
            connection.execute(heads.lock_log(connection.info.server_version))
            cursor = connection.execute(SELECT_HEAD)
            next_heads = self._look_up_unknown(connection)
            load = self._load(connection, BatchKeys.of(operations))
            pipeline.sync()
            head = Head(*cursor.fetchone())
            if self._unknown is not None and self._is_committed(self._unknown, next_heads):
                connection.execute("COMMIT")  # waits for the standbys: the batch may be visible before they have it
                return self._unknown.commit
            ledger, commit = self._decide(operations, load(head))
            if operations:
                self._save(connection, head, ledger, commit)
            else:  # a probe must write, too
                connection.execute(WRITE_NOTHING)
                connection.execute("COMMIT")
        self._unknown = None
        return commit

    def _look_up_unknown(self, connection: Any) -> Any:
        if self._unknown is None:
            return None
        connection.execute(WRITE_NOTHING)  # fails on a standby, which may lack the batch
        return connection.execute(SELECT_NEXT_HEAD, (self._unknown.before.last_revision,))

    def _is_committed(self, unknown: _UnknownCommit, next_heads: Any) -> bool:
        """Whether the head that follows the one before the batch is the batch's own.

        Raises StorageUnavailableError if both were removed, which means that this server hung for minutes.
        """
        writers = dict(next_heads)
        if writers.get(unknown.commit.head.last_revision) == self._writer_id:
            return True
        if unknown.before.last_revision not in writers:
            raise StorageUnavailableError("the outcome of a COMMIT can no longer be determined")
        return False

    def _load(self, connection: Any, keys: BatchKeys) -> Callable[[Head], Loaded]:
        """Sends the queries that a batch needs. Returns a function that combines their answers with the head."""
        statements = self._load_statements
        clock = connection.execute(CLOCK)
        mentors = [connection.execute(sql, (values,)) for sql, values in statements.mentors(keys)]
        events = [connection.execute(sql, (values,)) for sql, values in statements.events(keys)]

        def loaded(head: Head) -> Loaded:
            now = self._clock() if self._clock else clock.fetchone()[0]
            return Loaded(head.log_head, chain.from_iterable(mentors), chain.from_iterable(events), now)

        return loaded

    def _decide(self, operations: Sequence[Operation], loaded: Loaded) -> tuple[Ledger, Commit]:
        return decide(operations, loaded, self._new_event_id)

    def _save(self, connection: Any, before: Head, ledger: Ledger, commit: Commit) -> None:
        """Sends the rest of the transaction. If it fails, the end of the pipeline raises the error."""
        if not ledger.has_changes:
            connection.execute("ROLLBACK")
            return
        self._unknown = _UnknownCommit(before, commit, connection)
        if ledger.new_events:
            connection.execute(INSERT_EVENTS, columns_of(ledger.new_events.values()))
        if ledger.changed_events:
            connection.execute(UPDATE_EVENTS, columns_of(map(changes_of, ledger.changed_events.values())))
        if ledger.changed_mentors:
            connection.execute(PUT_MENTORS, columns_of(ledger.changed_mentors.values()))
        connection.execute(*insert_head(before, commit.head, ledger.changed_events.values(), self._writer_id))
        connection.execute("COMMIT")
