"""`mentorsync serve` on PostgreSQL that also writes each revision's event to a table, in the same transaction.

With the argument `without-lock` it takes no lock on the log: a test can then show that its check finds the difference.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from mentorsync.cli import main
from mentorsync.domain.ledger import Ledger, draw_event_id
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage import write_queue
from mentorsync.storage.deciding import Loaded
from mentorsync.storage.postgres import heads
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.heads import Head
from mentorsync.storage.postgres.store import PostgresStore
from mentorsync.storage.store import Commit

NOTES_TABLE = "CREATE TABLE notes (revision BIGINT NOT NULL, event JSON NOT NULL)"
PAUSE_SECONDS = 0.01
# Two servers that start from the same head write heads of one revision. The primary key would reject the second.
OVERWRITE = "ON CONFLICT (last_revision) DO UPDATE SET pending_total = EXCLUDED.pending_total"
NOTE = "INSERT INTO notes VALUES (%s, %s)"


class NotingStore(PostgresStore):
    def _decide(self, operations: Sequence[Operation], loaded: Loaded) -> tuple[Ledger, Commit]:
        self._last_revision = loaded.head.last_revision
        return super()._decide(operations, loaded)

    def _save(self, connection: Any, before: Head, ledger: Ledger, batch: Commit) -> None:
        changes = {event.revision: event for event in batch.outcomes if isinstance(event, SyncEvent)}
        for revision, event in changes.items():
            if revision > self._last_revision:
                connection.execute(NOTE, (revision, json.dumps(event._asdict())))
        super()._save(connection, before, ledger, batch)


class LocklessStore(NotingStore):
    """Pauses between its reads and its writes, so that the batches of two servers overlap.

    Its batches must be small: two batches with submits cannot both be written, because they use the same sequence.
    """

    def _decide(self, operations: Sequence[Operation], loaded: Loaded) -> tuple[Ledger, Commit]:
        time.sleep(PAUSE_SECONDS)
        return super()._decide(operations, loaded)


if __name__ == "__main__":
    store: type[NotingStore] = NotingStore
    if "without-lock" in sys.argv:
        store = LocklessStore
        heads.LOCK_LOG_WITH_LIMIT = heads.LOCK_LOG = "SELECT 1"
        heads.INSERT_HEAD = f"{heads.INSERT_HEAD} {OVERWRITE}"
        heads.INSERT_RAISED_HEAD = f"{heads.INSERT_RAISED_HEAD} {OVERWRITE}"
        write_queue.MAX_BATCH_OPERATIONS = 1
    setattr(PostgresEngine, "open_store", lambda engine: store(engine.database, None, draw_event_id))  # noqa: B010 - mypy knows no better way to replace a method
    sys.exit(main(["serve"]))
