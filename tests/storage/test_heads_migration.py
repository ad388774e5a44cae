"""0002_heads on PostgreSQL: it carries databases over, and stops servers of the version before from writing."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mentorsync.domain.operations import SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage import migrator
from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import StorageSetupError
from mentorsync.storage.migrator import migrate
from mentorsync.storage.postgres.engine import PostgresEngine

from tests.databases import Databases, execute
from tests.server_process import wait_until
from tests.storage.opened import MENTOR_ID, START, ids_of

THIS_VERSION = migrator.MIGRATIONS
EVENTS = 50
ACKNOWLEDGED = 20  # the oldest
INSERT_EVENTS = """
    INSERT INTO events SELECT n, n, 'evt_' || n, %s, 1, NULL, TRUE, 2, n <= %s, '', %s, %s, NULL, NULL, 'p' || n
    FROM generate_series(1, %s) AS n
"""
# What the version before sent in each batch, and in each read.
OLD_LOCK = (
    'SELECT "t1"."last_revision", "t1"."last_server_timestamp", "t1"."pending_total" FROM "log" AS "t1" '
    "WHERE id = 1 FOR UPDATE"
)
OLD_LAST_BATCH = "SELECT last_batch FROM writers WHERE writer_id = %s"
OLD_UPDATE = 'UPDATE "log" SET "last_revision" = %s, "last_server_timestamp" = %s, "pending_total" = %s WHERE id = 1'
OLD_TOTAL = 'SELECT "t1"."pending_total" FROM "log" AS "t1" WHERE id = 1'
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE log%'"


@pytest.fixture
def old_url(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of the version before, with events."""
    before = tmp_path / "before"
    before.mkdir()
    shutil.copy(THIS_VERSION / "0001_initial.py", before)
    with databases.fresh() as url:
        with monkeypatch.context() as patch:
            patch.setattr(migrator, "MIGRATIONS", before)
            migrated(url)
        execute(url, INSERT_EVENTS, (MENTOR_ID, ACKNOWLEDGED, START, START, EVENTS))
        execute(url, "INSERT INTO mentors VALUES (%s, 2, %s, 0, %s)", (MENTOR_ID, START, EVENTS - ACKNOWLEDGED))
        execute(url, OLD_UPDATE, (EVENTS, START, EVENTS - ACKNOWLEDGED))
        execute(url, "INSERT INTO writers VALUES ('old', 1, 1)")
        yield url


def migrated(url: str) -> list[str]:
    engine = PostgresEngine(url)
    try:
        return migrate(engine)
    finally:
        engine.close()


async def test_a_database_is_carried_over(old_url: str) -> None:
    """The log goes on at its next revision, with its total, and pages start at the first pending event."""
    assert migrated(old_url) == ["0002_heads", "0003_history"]
    assert execute(old_url, "SELECT * FROM log") == [(1, EVENTS, START, EVENTS - ACKNOWLEDGED)]
    assert execute(old_url, "SELECT first_pending FROM heads") == [(ACKNOWLEDGED + 1,)]
    engine = PostgresEngine(old_url)
    try:
        await _check_goes_on(engine)
    finally:
        engine.close()


async def _check_goes_on(engine: Engine) -> None:
    store = engine.open_store()
    submit = SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None)
    submitted, changed = store.transact([submit, UpdateOperation("evt_3", acknowledged=False, reason=None)]).outcomes
    assert isinstance(submitted, SyncEvent)
    assert isinstance(changed, SyncEvent)
    assert (submitted.sequence, changed.revision) == (EVENTS + 1, EVENTS + 2)
    page = await engine.open_reader().page(1, 100, None)
    ids = ids_of(page.events)
    assert page.total == len(ids) == EVENTS - ACKNOWLEDGED + 2
    assert (ids[0], ids[-1]) == ("evt_3", submitted.sync_event_id)


def test_where_nothing_is_pending_pages_start_behind_the_last_event(old_url: str) -> None:
    """An empty log, too."""
    execute(old_url, "UPDATE events SET acknowledged = TRUE")
    execute(old_url, "UPDATE log SET pending_total = 0")
    migrated(old_url)
    assert execute(old_url, "SELECT first_pending FROM heads") == [(EVENTS + 1,)]


def test_a_migration_that_fails_leaves_the_version_before(
    old_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: its servers go on writing."""
    directory = tmp_path / "failing"
    shutil.copytree(THIS_VERSION, directory)
    (directory / "0004_failing.py").write_text("def up(migrator, db):\n    raise RuntimeError('half-way')\n")
    monkeypatch.setattr(migrator, "MIGRATIONS", directory)
    with pytest.raises(RuntimeError, match="half-way"):
        migrated(old_url)
    execute(old_url, OLD_UPDATE, (EVENTS + 1, START, 1))
    assert execute(old_url, "SELECT last_batch FROM writers") == [(1,)]
    assert execute(old_url, "SELECT to_regclass('heads')") == [(None,)]


def test_a_migration_does_not_wait_for_a_backup(old_url: str) -> None:
    """A migration that waits for a table blocks everyone else. It fails instead, and the version before goes on."""
    with psycopg.connect(old_url) as backup:
        backup.execute("LOCK TABLE log IN ACCESS SHARE MODE")
        with pytest.raises(StorageSetupError, match="such as a backup's, kept its tables locked: nothing was changed"):
            migrated(f"{old_url}?options=-c%20lock_timeout%3D100ms")
        assert execute(old_url, OLD_TOTAL) == [(EVENTS - ACKNOWLEDGED,)]


class TestServersOfTheVersionBefore:
    """They read until they are replaced. They cannot write: new servers use another lock."""

    def test_their_batches_fail_before_they_write(self, old_url: str) -> None:
        """The error is 40001, which they answer with UNAVAILABLE, so that callers repeat at another server."""
        migrated(old_url)
        with psycopg.connect(old_url) as connection:
            assert connection.execute(OLD_LOCK).fetchone() == (EVENTS, START, EVENTS - ACKNOWLEDGED)
            with pytest.raises(psycopg.errors.SerializationFailure, match="replace this server"):
                connection.execute(OLD_LAST_BATCH, ("old",))

    def test_they_cannot_update_the_head(self, old_url: str) -> None:
        """`log` is now a view."""
        migrated(old_url)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot update view"):
            execute(old_url, OLD_UPDATE, (EVENTS + 1, START, 1))

    def test_they_go_on_reading(self, old_url: str) -> None:
        """The view has the newest head's total."""
        migrated(old_url)
        assert execute(old_url, OLD_TOTAL) == [(EVENTS - ACKNOWLEDGED,)]

    async def test_a_batch_that_is_running_is_waited_for(self, old_url: str) -> None:
        """Its revisions are not given a second time."""
        with psycopg.connect(old_url) as connection:
            connection.execute(OLD_LOCK)
            migration = asyncio.create_task(asyncio.to_thread(migrated, old_url))
            await asyncio.to_thread(wait_until, _waits(old_url), "the migration to wait for the batch")
            connection.execute(OLD_UPDATE, (EVENTS + 1, START, EVENTS - ACKNOWLEDGED))
            connection.commit()
        assert await migration == ["0002_heads", "0003_history"]
        assert execute(old_url, "SELECT last_revision FROM heads") == [(EVENTS + 1,)]


def _waits(url: str) -> Callable[[], Any]:
    return lambda: execute(url, WAITING)
