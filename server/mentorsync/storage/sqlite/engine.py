"""SQLite: one process, one file, WAL with synchronous=FULL, so that an answered write survives a power cut."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from peewee import OperationalError, PeeweeException, SqliteDatabase

from mentorsync.domain.ledger import draw_event_id
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.reader import Reader
from mentorsync.storage.rows import Row
from mentorsync.storage.sqlite.checkpoints import FAILURES
from mentorsync.storage.sqlite.store import BUSY_SECONDS, SqliteStore
from mentorsync.storage.statements import ReadStatements
from mentorsync.storage.waiting import reported_wait

LOCKED_PAUSE_SECONDS = 0.01  # before a new file that others are opening, too, is opened again
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

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Waits for another migration for as long as it runs."""
        with ExitStack() as stack:
            with reported_wait(f"{self}: another migration is running; waiting until it has ended"):
                while not self._is_entered(stack):
                    continue  # each try waits for BUSY_SECONDS
            yield

    def _is_entered(self, stack: ExitStack) -> bool:
        try:
            stack.enter_context(self.write_transaction())
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            return False
        return True

    def open_store(self) -> SqliteStore:
        return SqliteStore(self.database, self.clock, self._new_event_id)

    def open_reader(self) -> Reader:
        return Reader(self._query, ReadStatements(self.database), None, self._deep_executor)

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
