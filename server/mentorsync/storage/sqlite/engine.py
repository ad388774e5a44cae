"""SQLite: one process, one file, WAL with synchronous=FULL, so that an answered write survives a power cut."""

import fcntl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from peewee import OperationalError, PeeweeException, SqliteDatabase

from mentorsync.domain.ledger import draw_event_id
from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.change_statements import ChangeStatements
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.models import HistoryModel
from mentorsync.storage.reader import Reader
from mentorsync.storage.rows import Row
from mentorsync.storage.sqlite.checkpoints import FAILURES
from mentorsync.storage.sqlite.file import DatabaseFile
from mentorsync.storage.sqlite.store import SqliteStore
from mentorsync.storage.statements import ReadStatements
from mentorsync.storage.waiting import reported_wait
from mentorsync.time_limits import BUSY_SECONDS

FILE_MODE = 0o600  # of a new file: reasons are personal text. SQLite gives the files next to it the same rights.
LOCKED_PAUSE_SECONDS = 0.01  # between two attempts to open a new file that other processes are opening, too
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "secure_delete": 1,  # overwrites the text of a deleted reason
    "cache_size": -16_384,  # KiB
    "wal_autocheckpoint": 16_000,  # pages, 64 MB: a bound in case the checkpoint thread cannot keep up
}


def system_clock() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


class SqliteReader(Reader):
    """Also notices, at every probe, that the database file was removed or replaced."""

    def __init__(self, file: DatabaseFile, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._file = file

    async def probe(self) -> None:
        self._file.check()
        await super().probe()


class SqliteEngine:
    """The database in one file. `clock` and `new_event_id` are for tests."""

    is_shared = False
    epoch = HistoryModel.epoch
    failures = (*FAILURES, StorageUnavailableError)

    def __init__(
        self, path: Path, clock: Callable[[], int] = system_clock, new_event_id: Callable[[], str] = draw_event_id
    ) -> None:
        self.path = path
        self.clock = clock
        self._new_event_id = new_event_id
        # mode=rw: a connection never creates the file.
        address = f"file:{quote(str(path))}?mode=rw"
        self.database = SqliteDatabase(address, pragmas=PRAGMAS, timeout=BUSY_SECONDS, uri=True)
        self._file = DatabaseFile(path)
        self._change_executor = ThreadPoolExecutor(1, thread_name_prefix="change")
        self._deep_executor = ThreadPoolExecutor(1, thread_name_prefix="deep-page")

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"

    def create(self) -> str:
        """Creates an empty file if there is none, and returns its path. Raises StorageSetupError if that fails."""
        if self._exists():
            return ""
        try:
            self.path.touch(FILE_MODE)
        except OSError as error:
            raise self._refusal(error) from error
        return str(self.path.absolute())

    def check(self) -> None:
        """Raises StorageSetupError when the file cannot serve as the database. Never creates it."""
        if not self._exists():
            raise StorageSetupError(
                f"the database file {self.path} does not exist: correct the path, or run `mentorsync migrate` first"
            )
        deadline = time.monotonic() + BUSY_SECONDS
        while (error := self._connection_error()) is not None:
            # SQLite's busy timeout does not apply while another process turns a new file into a WAL database.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise StorageSetupError(f"the database file {self.path} cannot be opened: {error}") from error
            time.sleep(LOCKED_PAUSE_SECONDS)
        self._file.remember()

    def _exists(self) -> bool:
        try:
            return self.path.exists()
        except OSError as error:  # such as a folder that may not be entered
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> StorageSetupError:
        return StorageSetupError(f"the database file {self.path} cannot be opened: {error.strerror}")

    def _connection_error(self) -> Exception | None:
        try:
            self.database.connect(reuse_if_open=True)
            self.database.execute_sql("SELECT 1 FROM sqlite_master").fetchone()
        except Exception as error:  # noqa: BLE001 - after any exception the file cannot be used
            return error
        return None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Holds a lock that keeps other servers off the file. The kernel releases it when the process ends.

        The lock is on a separate file: closing any descriptor of the database file would drop SQLite's own locks. The
        lock's file is the same for all symbolic links to the database file.
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
        file = self.path.resolve()
        path = file.with_name(file.name + ".lock")
        try:
            return path.open("w")
        except OSError as error:
            raise StorageSetupError(f"the lock file {path} cannot be opened: {error.strerror}") from error

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        self._file.check()
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
        return SqliteStore(self.database, self._file, self.clock, self._new_event_id)

    def open_reader(self) -> Reader:
        return SqliteReader(self._file, self._query, ReadStatements(self.database), None, self._deep_executor)

    def open_change_reader(self) -> ChangeReader:
        return ChangeReader(self._query, ChangeStatements(self.database), self._change_executor)

    def close_connection(self) -> None:
        """Closes the connection of the calling thread."""
        self.database.close()

    def close(self) -> None:
        """Closes the connections of the calling thread and of the threads that read."""
        for executor in (self._change_executor, self._deep_executor):
            executor.submit(self.database.close)
            executor.shutdown()
        self.database.close()

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        self._file.refuse_if_lost()
        try:
            return list(self.database.connection().execute(sql, parameters))
        except FAILURES as error:
            raise StorageUnavailableError(str(error)) from error
