"""Empties SQLite's write-ahead log into the database file beside the writer, not in its way."""

import logging
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from peewee import PeeweeException, SqliteDatabase

# Between two checkpoints: the log then holds 20 to 40 MB, with the pages that many writes touched in it once for each.
OPERATIONS = 1_000
FAILURES = (sqlite3.Error, PeeweeException)  # the second is how Peewee tells that it could not connect
PASSES = 2  # the first leaves what was written during it, the second only what was written during the second

logger = logging.getLogger(__name__)


class Checkpoints:
    """SQLite itself would empty the log within a commit, with all writes waiting.

    Here a thread copies it by passive checkpoints, for which nobody waits. The little that was written meanwhile is
    copied by the writer, so that SQLite can start the log anew: under load it would grow without end otherwise.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._operations = 0
        self._copying: Future[None] | None = None

    def committed(self, operations: int) -> None:
        """To be told by the writer's thread after each commit."""
        self._operations += operations
        if self._copying is None:
            if self._operations >= OPERATIONS:
                self._copying = self._executor.submit(self._copy)
        elif self._copying.done():
            self._operations, self._copying = 0, None
            with suppress(*FAILURES):  # the commit is done, whatever becomes of the log
                self._checkpoint()

    def close(self) -> None:
        self._executor.submit(self._database.close)
        self._executor.shutdown()

    def _copy(self) -> None:
        try:
            for _ in range(PASSES):
                self._checkpoint()
        except FAILURES as error:
            logger.warning("the write-ahead log cannot be emptied: %s", error)

    def _checkpoint(self) -> None:
        self._database.connection().execute("PRAGMA wal_checkpoint(PASSIVE)")
