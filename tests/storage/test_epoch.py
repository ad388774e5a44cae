"""The epoch: the same for as long as the log's history goes on, and another one after `mentorsync new-epoch`."""

import asyncio
import re
from contextlib import ExitStack

import pytest
from mentorsync.cli import main
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.change_reader import LogPosition
from mentorsync.storage.engine import Engine
from mentorsync.storage.epoch import renew_epoch, renew_seen_epoch
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.migrator import migrate
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.sqlite.engine import SqliteEngine

from tests.postgres_server import PostgresServer, server_directory
from tests.storage.opened import MENTOR_ID, OpenedStorage

IMPATIENT_SECONDS = 0.05


async def test_a_new_epoch_is_another_one(engine: Engine) -> None:
    """Readers see it in their next read. The rest of the position stays."""
    reader = engine.open_change_reader()
    before = await reader.position()
    change = renew_epoch(engine)
    after = await reader.position()
    assert change.before != change.after
    assert before.epoch != after.epoch
    assert before[1:] == after[1:]


async def test_servers_that_saw_the_same_epoch_renew_it_once(engine: Engine) -> None:
    """The second one leaves the epoch of the first: receivers that began with it keep their cursors."""
    reader = engine.open_change_reader()
    seen = (await reader.position()).epoch
    renew_seen_epoch(engine, seen)
    renewed = (await reader.position()).epoch
    renew_seen_epoch(engine, seen)
    assert seen != renewed == (await reader.position()).epoch


async def test_it_changes_while_the_service_writes(storage: OpenedStorage) -> None:
    """The command waits for the batch that is running, and no write fails."""
    writes = asyncio.gather(*(storage.submit() for _ in range(50)))
    change = await asyncio.to_thread(_renewed, storage.engine)
    await writes
    assert change
    assert (await storage.engine.open_change_reader().position()).last_revision == 50


def _renewed(engine: Engine) -> bool:
    """Runs as the command does: on its own thread's connection."""
    try:
        before, after = renew_epoch(engine)
    finally:
        engine.database.close()
    return before != after


def test_the_command_prints_both(sqlite_engine: SqliteEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator sees that something changed."""
    assert main(["new-epoch", "--database-url", str(sqlite_engine)]) == 0
    epochs = re.findall(r"epoch is now (\d+) and was (\d+)", capsys.readouterr().out)
    assert len(set(epochs[0])) == 2


def test_a_database_that_cannot_be_opened_is_refused(
    sqlite_engine: SqliteEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line. No file is created."""
    missing = sqlite_engine.path.with_name("missing.db")
    assert main(["new-epoch", "--database-url", f"sqlite:///{missing}"]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not missing.exists()


def test_a_database_without_the_schema_is_refused(
    sqlite_engine: SqliteEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the command that is missing."""
    empty = SqliteEngine(sqlite_engine.path.with_name("empty.db"))
    empty.create()
    assert main(["new-epoch", "--database-url", str(empty)]) == 2
    assert "run `mentorsync migrate` first" in capsys.readouterr().err


def test_a_database_that_is_locked_keeps_its_epoch(sqlite_engine: SqliteEngine) -> None:
    """The error says so."""
    other = SqliteEngine(sqlite_engine.path)
    other.database.timeout = IMPATIENT_SECONDS
    with (
        sqlite_engine.write_transaction(),
        pytest.raises(StorageUnavailableError, match="the epoch was not changed: database is locked"),
    ):
        renew_epoch(other)
    other.close()


async def test_a_promoted_standby_has_another_epoch() -> None:
    """Its timeline is new, and may lack revisions that the primary had given. A standby itself is not read."""
    with server_directory() as directory, ExitStack() as stack:
        server = PostgresServer(directory).create()
        stack.callback(server.stop)
        before = await _written(PostgresEngine(server.url("postgres")))
        standby = server.standby()
        stack.callback(standby.stop)
        engine = PostgresEngine(standby.url("postgres"))
        stack.callback(engine.close)
        reader = engine.open_change_reader()
        with pytest.raises(StorageUnavailableError, match="recovery is in progress"):
            await reader.position()
        standby.promote()
        after = await reader.position()
    assert after[1:] == before[1:]
    assert after.epoch != before.epoch
    assert after.epoch > 0


async def _written(engine: PostgresEngine) -> LogPosition:
    """The position of a new database after one batch."""
    migrate(engine)
    store = engine.open_store()
    store.transact([SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None)])
    position = await engine.open_change_reader().position()
    engine.close()
    return position
