"""Empties SQLite's write-ahead log into the database file, while writes go on."""

import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from peewee import PeeweeException, SqliteDatabase

from mentorsync.storage.failure_log import FailureLog

# Operations between two checkpoints. The log then holds 20 to 40 MB: each write adds every page that it touches.
OPERATIONS = 1_000
# If the disk has less free space than the log may need, the log is emptied this often. Once the log has filled the
# disk, SQLite cannot empty it any more, because the database file has to grow for that.
OPERATIONS_ON_SMALL_DISK = 20
SMALL_DISK_BYTES = 64 * 1_048_576
FAILURES = (sqlite3.Error, PeeweeException)  # Peewee raises the second when it cannot connect
PASSES = 2  # the first leaves the pages that were written during it, the second leaves very few

logger = logging.getLogger(__name__)


class Checkpoints:
    """Empties the log. SQLite itself would do so within a commit, while all writes wait.

    Here a thread copies the log by passive checkpoints, which block nothing. The writer then copies the few pages that
    were written meanwhile, so that SQLite can start the log from its beginning: under constant load it would otherwise
    grow without end.
    """

    def __init__(self, database: SqliteDatabase, path: Path) -> None:
        self._database = database
        self._path = path
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._operations = 0
        self._next_look = OPERATIONS_ON_SMALL_DISK  # at the disk, in operations
        self._copying: Future[None] | None = None
        self._failures = FailureLog(
            logger, "the write-ahead log cannot be emptied", "the write-ahead log can be emptied again"
        )

    def committed(self, operations: int) -> None:
        """Starts or ends a checkpoint when one is due. Called by the writer's thread after each commit."""
        self._operations += operations
        if self._copying is not None:
            if self._copying.done():
                self._end(self._copying.result)
        elif self._operations >= OPERATIONS:
            self._copying = self._executor.submit(self._copy)
        elif self._operations >= self._next_look:
            self._next_look += OPERATIONS_ON_SMALL_DISK
            if self._is_disk_small():
                self._end(self._checkpoint)  # not in the background: the log must not grow meanwhile

    def truncate(self) -> bool:
        """Empties the log and cuts its file to zero bytes. Returns False if a reader prevented that."""
        if self._copying is not None:
            wait((self._copying,))  # SQLite runs one checkpoint at a time
        busy, *_ = self._database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def close(self) -> None:
        self._executor.submit(self._database.close)
        self._executor.shutdown()

    def _is_disk_small(self) -> bool:
        try:
            disk = os.statvfs(self._path)
        except OSError:  # the file was removed: the next write reports that
            return False
        return disk.f_bavail * disk.f_frsize < SMALL_DISK_BYTES

    def _copy(self) -> None:
        for _ in range(PASSES):
            self._checkpoint()

    def _end(self, copy: Callable[[], object]) -> None:
        """Runs the last pass of a checkpoint after `copy`, and restarts the count."""
        self._operations, self._next_look, self._copying = 0, OPERATIONS_ON_SMALL_DISK, None
        try:
            copy()
            self._checkpoint()
        except FAILURES as error:
            self._failures.fail(error)
        else:
            self._failures.succeed()

    def _checkpoint(self) -> None:
        self._database.connection().execute("PRAGMA wal_checkpoint(PASSIVE)")
