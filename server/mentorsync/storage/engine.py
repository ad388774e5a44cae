"""The engines, by database URL."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.errors import StorageSetupError
from mentorsync.storage.reader import Reader
from mentorsync.storage.sqlite.engine import SqliteEngine
from mentorsync.storage.store import Store
from mentorsync.storage.urls import PERCENT_ENCODING, is_unambiguous

SQLITE_PREFIX = "sqlite:///"
POSTGRES_PREFIXES = ("postgresql://", "postgres://")


class Engine(Protocol):
    """A database, as the service uses it. `str` gives its URL without a password."""

    is_shared: bool
    """Whether several servers may serve the database at the same time."""

    epoch: Any
    """The SQL expression of a position's epoch, in a query of HistoryModel."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The exceptions that a connection raises when the database fails."""

    @property
    def database(self) -> Any: ...

    @property
    def clock(self) -> Callable[[], int]:
        """Microseconds since the Unix epoch, by the clock that server timestamps come from."""

    def create(self) -> str:
        """Creates an empty database if there is none and the engine can create one. Returns what it created, if so."""

    def check(self) -> None:
        """Raises StorageSetupError when the database cannot be used at all."""

    def serving(self) -> AbstractContextManager[None]:
        """Entered for as long as a server runs. Raises StorageSetupError if another server excludes this one."""

    def migrating(self) -> AbstractContextManager[None]:
        """A transaction that excludes all other migrations."""

    def write_transaction(self) -> AbstractContextManager[None]:
        """A transaction that excludes all other writes."""

    def open_store(self) -> Store: ...

    def open_reader(self) -> Reader: ...

    def open_change_reader(self) -> ChangeReader: ...

    def close_connection(self) -> None:
        """Closes the connection that the calling thread uses for reads, if it has one of its own."""

    def close(self) -> None: ...


def open_engine(url: str) -> Engine:
    """Returns the engine for a URL, without connecting. Raises StorageSetupError if the URL is not valid."""
    if url.startswith(SQLITE_PREFIX):
        path = unquote(url.removeprefix(SQLITE_PREFIX))
        if path and path != ":memory:" and not path.endswith("/") and "\0" not in path:
            return SqliteEngine(Path(path))
    if url.startswith(POSTGRES_PREFIXES):
        if not is_unambiguous(url):
            raise StorageSetupError(f"the database URL is ambiguous: {PERCENT_ENCODING}")
        return _postgres_engine(url)
    raise StorageSetupError(
        "a database URL is sqlite:///file.db (relative), sqlite:////path/to/file.db (absolute) or "
        "postgresql://user:password@host:port/name"
    )


def _postgres_engine(url: str) -> Engine:
    try:
        from mentorsync.storage.postgres.engine import PostgresEngine  # noqa: PLC0415 - psycopg is an extra
    except ImportError as error:
        raise StorageSetupError(
            "PostgreSQL needs psycopg: install mentor-status-sync with the extra `postgres`"
        ) from error
    return PostgresEngine(url)
