"""PostgreSQL's write transactions: set-based, in two round trips each, and certain of their COMMIT."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from peewee import SQL, PostgresqlDatabase

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.deciding import Loaded, decide
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.models import THE_ROW, LogModel
from mentorsync.storage.postgres.connections import CLOCK, TRANSIENT
from mentorsync.storage.postgres.statements import INSERT_EVENTS, PUT_MENTORS, UPDATE_EVENTS, columns_of, member_of
from mentorsync.storage.rows import BatchKeys, changes_of
from mentorsync.storage.statements import HEAD_FIELDS, LoadStatements, compiled
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
logger = logging.getLogger(__name__)


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
        keys = BatchKeys.of(operations)
        # One pipeline for both round trips. To leave it between them, psycopg would send a Flush after its Sync, and
        # PostgreSQL does not count the time until the next message after a Flush as idle in a transaction.
        with connection.pipeline() as pipeline:
            connection.execute("BEGIN")
            head = connection.execute(self._lock_head)
            # From here on in statements of their own: they see all that was committed before the lock was had.
            clock = connection.execute(CLOCK)
            last_batch = connection.execute(SELECT_LAST_BATCH, (self._writer_id,))
            rows = self._load(connection, keys)
            pipeline.sync()
            if self._unsettled is not None and last_batch.fetchone() == (self._unsettled.number,):
                connection.execute("ROLLBACK")
                return self._unsettled.commit
            now = self._clock() if self._clock else clock.fetchone()[0]
            ledger, commit = self._decide(operations, Loaded(LogHead(*head.fetchone()), *rows, now))
            self._save(connection, ledger, commit)
        self._unsettled = None
        return commit

    def _load(self, connection: Any, keys: BatchKeys) -> tuple[Any, Any]:
        statements = self._load_statements
        mentors = [connection.execute(sql, (values,)) for sql, values in statements.mentors(keys)]
        events = [connection.execute(sql, (values,)) for sql, values in statements.events(keys)]
        return chain.from_iterable(mentors), chain.from_iterable(events)

    def _decide(self, operations: Sequence[Operation], loaded: Loaded) -> tuple[Ledger, Commit]:
        return decide(operations, loaded, self._new_event_id)

    def _save(self, connection: Any, ledger: Ledger, commit: Commit) -> None:
        """Sends what is left of the transaction; the end of the pipeline tells how it went."""
        if not ledger.has_changes:
            connection.execute("ROLLBACK")
            return
        self._batch_number += 1
        self._unsettled = _Unsettled(self._batch_number, commit)
        if ledger.new_events:
            connection.execute(INSERT_EVENTS, columns_of(ledger.new_events.values()))
        if ledger.changed_events:
            connection.execute(UPDATE_EVENTS, columns_of(map(changes_of, ledger.changed_events.values())))
        if ledger.changed_mentors:
            connection.execute(PUT_MENTORS, columns_of(ledger.changed_mentors.values()))
        connection.execute(self._update_head, ledger.head)
        connection.execute(PUT_LAST_BATCH, (self._writer_id, self._batch_number, ledger.now))
        if self._batch_number == 1:
            connection.execute(FORGET_WRITERS, (ledger.now - SILENT_WRITER_MICROSECONDS,))
        connection.execute("COMMIT")
