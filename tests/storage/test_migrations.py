"""Migrations: each is applied once, all or none, and only by a version that knows the schema."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mentorsync.storage import migrator, waiting
from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import StorageSetupError
from mentorsync.storage.migrator import check_current, migrate
from mentorsync.storage.sqlite.engine import SqliteEngine

from tests.server_process import wait_until
from tests.storage.opened import Clock, EventIds, OpenEngine

ALL = ["0001_initial", "0002_heads", "0003_history"]
IMPATIENT_SECONDS = 0.1
NEWER = """
def up(migrator, db):
    db.execute_sql("CREATE TABLE newer (id INTEGER)")
"""
FAILING = """
def up(migrator, db):
    db.execute_sql("CREATE TABLE half (id INTEGER)")
    db.execute_sql("INSERT INTO half VALUES (1)")
    raise RuntimeError("half-way")
"""


@pytest.fixture
def add_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Adds a migration to this version's."""
    directory = tmp_path / "migrations"
    shutil.copytree(migrator.MIGRATIONS, directory)
    monkeypatch.setattr(migrator, "MIGRATIONS", directory)

    def add(name: str, text: str) -> None:
        (directory / f"{name}.py").write_text(text)

    return add


def contents(engine: Engine) -> dict[str, list[Any]]:
    """Every table with its rows."""
    database = engine.database
    return {table: database.execute_sql(f"SELECT * FROM {table}").fetchall() for table in database.get_tables()}  # noqa: S608 - the database's own names


def test_a_migration_is_applied_once(empty_engine: Engine) -> None:
    """The second run changes nothing."""
    assert migrate(empty_engine) == ALL
    before = contents(empty_engine)
    assert migrate(empty_engine) == []
    assert contents(empty_engine) == before
    check_current(empty_engine)


def test_a_database_without_the_schema_is_not_served(empty_engine: Engine) -> None:
    """The message says what to run."""
    with pytest.raises(
        StorageSetupError, match=r"lacks 0001_initial, 0002_heads, 0003_history: run `mentorsync migrate` first"
    ):
        check_current(empty_engine)
    assert empty_engine.database.get_tables() == []


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(
    engine: Engine, add_migration: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither migrate nor serve changes it."""
    this_version = migrator.MIGRATIONS.with_name("this_version")
    shutil.copytree(migrator.MIGRATIONS, this_version)
    add_migration("0004_newer", NEWER)
    assert migrate(engine) == ["0004_newer"]
    before = contents(engine)
    monkeypatch.setattr(migrator, "MIGRATIONS", this_version)
    for refused in (migrate, check_current):
        with pytest.raises(StorageSetupError, match=r"newer version of mentorsync \(0004_newer\): nothing was changed"):
            refused(engine)
    assert contents(engine) == before


def test_a_migration_that_fails_half_way_leaves_nothing(
    empty_engine: Engine, add_migration: Callable[[str, str], None]
) -> None:
    """The migrations before it are rolled back, too. A corrected migration can be applied."""
    add_migration("0004_failing", FAILING)
    with pytest.raises(RuntimeError, match="half-way"):
        migrate(empty_engine)
    assert empty_engine.database.get_tables() == []
    add_migration("0004_failing", NEWER)
    assert migrate(empty_engine) == [*ALL, "0004_failing"]


async def test_two_migrations_at_once_apply_everything_once(
    open_engine: OpenEngine, clock: Clock, event_ids: EventIds
) -> None:
    """The others wait for the first, and then have nothing to do."""

    def migrate_and_close() -> list[str]:
        engine = open_engine(clock, event_ids)
        try:
            return migrate(engine)
        finally:
            engine.close()

    applied = await asyncio.gather(*(asyncio.to_thread(migrate_and_close) for _ in range(4)))
    assert sorted(applied) == [[], [], [], ALL]


def test_a_migration_waits_for_another_for_as_long_as_it_runs(
    open_engine: OpenEngine,
    clock: Clock,
    event_ids: EventIds,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Longer than a write would wait for a lock, and after some seconds it says so."""
    monkeypatch.setattr(waiting, "REPORT_SECONDS", 3 * IMPATIENT_SECONDS)
    running, waiting_engine = open_engine(clock, event_ids), open_engine(clock, event_ids)
    running.create()
    running.check()
    set_lock_timeout(waiting_engine, IMPATIENT_SECONDS)

    def migrate_and_close() -> list[str]:
        try:
            return migrate(waiting_engine)
        finally:
            waiting_engine.close()

    with ThreadPoolExecutor(1) as thread:
        with running.migrating():
            applied = thread.submit(migrate_and_close)
            wait_until(lambda: "another migration is running" in caplog.text or applied.done(), "the line")
            assert not applied.done()
        assert applied.result(10) == ALL
    running.close()


def set_lock_timeout(engine: Engine, seconds: float) -> None:
    if isinstance(engine, SqliteEngine):
        engine.database.timeout = seconds
    else:
        engine.database._options += f" -c lock_timeout={seconds}s"  # noqa: SLF001 - there is no other way in


def test_a_database_of_another_program_is_refused(empty_engine: Engine) -> None:
    """The error names the cause in one line, and the tables stay as they are."""
    empty_engine.database.execute_sql("CREATE TABLE events (id INTEGER)")
    before = contents(empty_engine)
    with pytest.raises(StorageSetupError, match=r"cannot be used: .*events.* already exists"):
        migrate(empty_engine)
    assert contents(empty_engine) == before
