"""The heads of the log on PostgreSQL: one row for each batch, of which the newest is the log's head.

No batch updates a head. An old snapshot, such as a backup's, keeps dead versions of rows; the newest head is found
without passing any of them.
"""

from collections.abc import Iterable
from typing import NamedTuple

from mentorsync.domain.records import LogHead, SyncEvent
from mentorsync.storage.models import PENDING
from mentorsync.time_limits import TRANSACTION_SECONDS

LOG_LOCK = 0x6D656E746F73  # an advisory lock's key, as MIGRATION_LOCK: "mentos"
# Puts the batches in one order. The next statement then sees everything that was committed before.
LOCK_LOG = f"SELECT pg_advisory_xact_lock({LOG_LOCK})"
# The same, with a limit on the time from taking the lock to COMMIT. PostgreSQL counts no idle time between the messages
# of a pipeline, so without the limit a server that freezes there would keep the lock. Waiting for the lock does not
# count, nor does a COMMIT that waits for a standby.
LOCK_LOG_WITH_LIMIT = f"{LOCK_LOG}, set_config('transaction_timeout', '{TRANSACTION_SECONDS:g}s', true)"
TRANSACTION_TIMEOUT_VERSION = 170_000  # older servers do not know the setting

# Once in this many revisions, the first pending event is searched for. The search reads the index's dead entries, and
# there may be many of them while an old snapshot is open. Page 1 reads the dead entries of at most this many revisions.
RAISE_REVISIONS = 64

SELECT_HEAD = (
    "SELECT last_revision, last_server_timestamp, pending_total, first_pending "
    "FROM heads ORDER BY last_revision DESC LIMIT 1"
)
# Parameter: a revision. The head of that revision and the next one, as far as they exist.
SELECT_NEXT_HEAD = "SELECT last_revision, writer_id FROM heads WHERE last_revision >= %s ORDER BY last_revision LIMIT 2"
INSERT = "INSERT INTO heads (last_revision, last_server_timestamp, pending_total, first_pending, writer_id) "
INSERT_HEAD = f"{INSERT} VALUES (%s, %s, %s, %s, %s)"
# Looks for the first pending event. Parameters: three fields of the head, the sequence to start from, the sequence of
# the next event, for the case that none is pending, and the writer's id.
FIRST_PENDING = f"SELECT sequence FROM events WHERE {PENDING.sql} AND sequence >= %s ORDER BY sequence LIMIT 1"  # noqa: S608 - of our own names
INSERT_RAISED_HEAD = f"{INSERT} VALUES (%s, %s, %s, COALESCE(({FIRST_PENDING}), %s), %s)"
# Changes nothing. It fails where a batch would fail, and its COMMIT waits for standbys as a batch's does.
WRITE_NOTHING = "UPDATE heads SET writer_id = writer_id WHERE last_revision = (SELECT MAX(last_revision) FROM heads)"


class Head(NamedTuple):
    """The log's head, and a sequence before which no event is pending."""

    last_revision: int
    last_server_timestamp: int
    pending_total: int
    first_pending: int

    @property
    def log_head(self) -> LogHead:
        return LogHead(self.last_revision, self.last_server_timestamp, self.pending_total)


def lock_log(server_version: int) -> str:
    """The statement that takes the log's lock for a batch. `server_version` is libpq's number, as 170004 for 17.4."""
    return LOCK_LOG_WITH_LIMIT if server_version >= TRANSACTION_TIMEOUT_VERSION else LOCK_LOG


def insert_head(
    before: Head, after: LogHead, changed_events: Iterable[SyncEvent], writer_id: int
) -> tuple[str, tuple[int, ...]]:
    """The statement that stores the head after a batch, and its parameters. It must follow the batch's own changes."""
    first_pending = min((event.sequence for event in changed_events if event.pending), default=before.first_pending)
    first_pending = min(first_pending, before.first_pending)
    if before.last_revision // RAISE_REVISIONS == after.last_revision // RAISE_REVISIONS:
        return INSERT_HEAD, (*after, first_pending, writer_id)
    return INSERT_RAISED_HEAD, (*after, first_pending, after.last_revision + 1, writer_id)
