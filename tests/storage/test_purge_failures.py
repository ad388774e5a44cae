"""A purge whose database fails ends with one clear line and keeps what it did."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from mentorsync import cli
from mentorsync.domain.operations import DeleteOperation, SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage import purge as purge_module
from mentorsync.storage.engine import Engine, open_engine
from mentorsync.storage.migrator import migrate
from mentorsync.storage.sqlite import engine as sqlite_engine_module

from tests.databases import Databases, execute
from tests.storage.opened import MENTOR_ID

WINDOW = 4
EVENTS = 10


def fill(engine: Engine) -> None:
    """Leaves tombstones: two whole windows, and half of one."""
    migrate(engine)
    store = engine.open_store()
    submits = [SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None) for _ in range(EVENTS)]
    events = [event for event in store.transact(submits).outcomes if isinstance(event, SyncEvent)]
    store.transact([DeleteOperation(event.sync_event_id) for event in events])
    store.close()
    engine.close()


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge_module, "WINDOW_EVENTS", WINDOW)


@pytest.fixture
def sqlite_url(path: Path) -> str:
    fill(open_engine(f"sqlite:///{path}"))
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        fill(open_engine(url))
        yield url


@pytest.fixture
def after_first_window(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Breaks the database once the first window is purged."""

    def register(break_database: Callable[[], object]) -> None:
        monkeypatch.setattr(
            cli, "show_progress", lambda reached, _last, _removed: break_database() if reached == WINDOW else None
        )

    return register


def purge_error(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs the command, which must fail, and returns its one line."""
    assert cli.main(["purge", "--older-than", "0s", "--database-url", url]) == cli.EXIT_FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@contextmanager
def locked_sqlite(path: Path) -> Iterator[Callable[[], object]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield lambda: other.execute("BEGIN IMMEDIATE")


def test_a_locked_sqlite_file_stops_it(
    sqlite_url: str,
    path: Path,
    after_first_window: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line says what was removed; the rest is removed by another run."""
    monkeypatch.setattr(sqlite_engine_module, "BUSY_SECONDS", 0.01)
    with locked_sqlite(path) as lock:
        after_first_window(lock)
        assert purge_error(sqlite_url, capsys) == (
            f"mentorsync: {sqlite_url}: the purge stopped: database is locked; "
            "4 events were removed before that, run it again for the rest"
        )
    monkeypatch.undo()
    assert cli.main(["purge", "--older-than", "0s", "--database-url", sqlite_url]) == 0
    assert capsys.readouterr().out == f"{sqlite_url}: removed 6 events\n"


def test_a_sqlite_file_that_is_removed_stops_it(
    sqlite_url: str,
    path: Path,
    after_first_window: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is purged from a file that has lost its name, and no new file appears."""
    after_first_window(path.unlink)
    line = purge_error(sqlite_url, capsys)
    assert "was removed or replaced" in line
    assert "4 events were removed before that" in line
    assert not path.exists()


def terminate_all(url: str) -> None:
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
    )


def test_a_lost_connection_to_postgresql_stops_it(
    postgres_url: str,
    after_first_window: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line says what was removed."""
    after_first_window(lambda: terminate_all(postgres_url))
    line = purge_error(postgres_url, capsys)
    assert "the purge stopped: " in line
    assert line.endswith("; 4 events were removed before that, run it again for the rest")


def test_a_locked_table_in_postgresql_stops_it(
    postgres_url: str,
    after_first_window: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It waits for as long as any write does, and gives up then."""
    with psycopg.connect(postgres_url) as other:
        after_first_window(lambda: other.execute("LOCK TABLE events IN EXCLUSIVE MODE"))
        line = purge_error(postgres_url, capsys)
    assert "lock timeout" in line
    assert line.endswith("; 4 events were removed before that, run it again for the rest")
