"""Behaviour that only SQLite has: plans, pages, files and locks."""

import asyncio
import errno
import logging
import os
import re
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mentorsync.domain.operations import DeleteOperation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage import writer as writer_module
from mentorsync.storage.engine import open_engine
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.migrator import check_current, migrate
from mentorsync.storage.sqlite import engine as engine_module
from mentorsync.storage.sqlite import store as store_module
from mentorsync.storage.sqlite.engine import SqliteEngine
from mentorsync.storage.sqlite.store import member_of
from mentorsync.storage.statements import LoadStatements, ReadStatements
from mentorsync.storage.writer import Writer
from mentorsync.time_limits import BUSY_SECONDS

from tests.storage.opened import MENTOR_ID, Clock, EventIds, OpenedStorage, commit

PAUSE = EventType.PAUSE
SECRET = "the-secret-of-this-reason"  # noqa: S105 - a text to look for in files


def submits(count: int, reason: str = "") -> list[SubmitOperation]:
    return [SubmitOperation(MENTOR_ID, PAUSE, reason, None, f"{reason}{number}") for number in range(count)]


def bytes_of(path: Path) -> bytes:
    """All that SQLite keeps in files."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def replace_by_folder(path: Path) -> Path:
    """Moves the database to another name, and puts a folder in its place, which not even root can open as a file."""
    moved = path.rename(path.with_name("moved.db"))
    path.mkdir()
    return moved


def put_back(moved: Path, path: Path) -> None:
    path.rmdir()
    moved.rename(path)


class TestPlans:
    """SQLite's plans for the hot statements."""

    @staticmethod
    def plan(engine: SqliteEngine, sql: str) -> list[tuple[int, str]]:
        """Parent and text of each step."""
        rows = engine.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", ("1",) * sql.count("?"))
        return [(parent, detail) for _id, parent, _unused, detail in rows]

    def test_reads_use_the_partial_indexes(self, sqlite_engine: SqliteEngine) -> None:
        """All pending events come from one partial index in its order, a mentor's from the other alone."""
        statements = ReadStatements(sqlite_engine.database)
        indexes = {
            statements.page: " USING INDEX events_pending",
            statements.page_from_end: " USING INDEX events_pending",
            statements.mentor_page: " USING COVERING INDEX events_pending_of_mentor (mentor_id=?)",
            statements.snapshot: " USING COVERING INDEX events_pending_of_mentor (mentor_id=?)",
        }
        for sql, index in indexes.items():
            steps = [detail.removesuffix(" LEFT-JOIN") for _parent, detail in self.plan(sqlite_engine, sql)]
            assert [step for step in steps if " t2 " in step] == [
                f"{'SCAN' if 'of_mentor' not in index else 'SEARCH'} t2{index}"
            ]

    def test_a_snapshot_is_read_as_it_lies(self, sqlite_engine: SqliteEngine) -> None:
        """Nothing is copied or sorted on the way: two look-ups, and the events in the index's order."""
        snapshot = ReadStatements(sqlite_engine.database).snapshot
        steps = self.plan(sqlite_engine, snapshot)
        assert len(steps) == 2
        assert not [parent for parent, _detail in steps if parent]

    def test_reads_sort_nothing_but_the_page(self, sqlite_engine: SqliteEngine) -> None:
        """A temporary B-tree is only ever built over the page's rows, of which there are 100 at most."""
        statements = ReadStatements(sqlite_engine.database)
        for sql in vars(statements).values():
            assert not [
                detail for parent, detail in self.plan(sqlite_engine, sql) if parent and "TEMP B-TREE" in detail
            ]

    def test_loads_search_by_index(self, sqlite_engine: SqliteEngine) -> None:
        """The rows that a batch needs are found by index, however many events are stored."""
        statements = LoadStatements(sqlite_engine.database, member_of)
        for sql in vars(statements).values():
            steps = [detail for _parent, detail in self.plan(sqlite_engine, sql)]
            assert [step for step in steps if re.match(r"SEARCH t[12] USING (INDEX|PRIMARY KEY)", step)]
            assert not [step for step in steps if step.startswith(("SCAN t1", "SCAN t2")) or "TEMP B-TREE" in step]

    @pytest.mark.parametrize("mentor_id", [None, MENTOR_ID])
    async def test_a_page_past_the_end_reads_no_event(self, sqlite_engine: SqliteEngine, mentor_id: str | None) -> None:
        """It costs what an empty log's page costs, and far less than a page of events."""
        sqlite_engine.open_store().transact(submits(500))
        reader = sqlite_engine.open_reader()
        steps = 0

        def count_step() -> None:
            nonlocal steps
            steps += 1

        sqlite_engine.database.connection().set_progress_handler(count_step, 1)
        await reader.page(5, 100, mentor_id)
        last_page, steps = steps, 0
        await reader.page(6, 100, mentor_id)
        assert 0 < steps < 150
        assert last_page > 10 * steps


class TestErasure:
    """A deleted reason's bytes leave the files."""

    @pytest.mark.parametrize("erase", [DeleteOperation, lambda event_id: UpdateOperation(event_id, None, "")])
    def test_an_erased_reason_is_gone_after_maintenance(
        self, sqlite_engine: SqliteEngine, path: Path, erase: Any
    ) -> None:
        """Neither the database file nor the write-ahead log holds its bytes."""
        store = sqlite_engine.open_store()
        outcomes = commit(store, submits(200, SECRET)).outcomes
        assert SECRET.encode() in bytes_of(path)
        commit(store, [erase(event.sync_event_id) for event in outcomes if isinstance(event, SyncEvent)])
        store.run_maintenance()
        assert SECRET.encode() not in bytes_of(path)

    def test_maintenance_does_not_wait_for_a_reader(self, sqlite_engine: SqliteEngine, path: Path) -> None:
        """A backup may read for a long time: writes must not wait for a checkpoint that waits for it."""
        store = sqlite_engine.open_store()
        (event,) = commit(store, [SubmitOperation(MENTOR_ID, PAUSE, SECRET, None, None)]).outcomes
        assert isinstance(event, SyncEvent)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            commit(store, [DeleteOperation(event.sync_event_id)])
            started = time.monotonic()
            store.run_maintenance()
            assert time.monotonic() - started < BUSY_SECONDS
        store.run_maintenance()
        assert SECRET.encode() not in bytes_of(path)
        store.close()

    def test_a_reason_that_stays_is_not_erased(self, sqlite_engine: SqliteEngine, path: Path) -> None:
        """Only the deleted event's text goes."""
        store = sqlite_engine.open_store()
        gone, _stays = commit(store, [*submits(1, SECRET), *submits(1, "harmless")]).outcomes
        assert isinstance(gone, SyncEvent)
        commit(store, [DeleteOperation(gone.sync_event_id)])
        store.run_maintenance()
        assert SECRET.encode() not in bytes_of(path)
        assert b"harmless" in bytes_of(path)

    async def test_the_writer_tidies_up_when_it_is_idle(
        self, sqlite_engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Erased text does not wait for a checkpoint that may never come."""
        monkeypatch.setattr(writer_module, "IDLE_SECONDS", 0.05)
        maintained = threading.Event()

        class WatchedStore(store_module.SqliteStore):
            def run_maintenance(self) -> None:
                super().run_maintenance()
                maintained.set()

        monkeypatch.setattr(engine_module, "SqliteStore", WatchedStore)
        writer = Writer(sqlite_engine.open_store, lambda _operations: None)
        event = await writer.write(SubmitOperation(MENTOR_ID, PAUSE, SECRET, None, None))
        await writer.write(DeleteOperation(event.sync_event_id))
        maintained.clear()
        await writer.write(DeleteOperation(event.sync_event_id))
        assert await asyncio.to_thread(maintained.wait, 10)
        assert SECRET.encode() not in bytes_of(path)
        await writer.close()


class TestOneServer:
    @pytest.mark.usefixtures("sqlite_engine")
    def test_a_file_that_cannot_be_written_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that could answer no write does not start."""
        monkeypatch.setitem(engine_module.PRAGMAS, "query_only", 1)
        engine = SqliteEngine(path)
        with pytest.raises(StorageSetupError, match="cannot be written"), engine.serving():
            pass
        engine.close()

    def test_a_second_server_on_the_file_is_refused(self, sqlite_engine: SqliteEngine, path: Path) -> None:
        """The message says what to do; once the first has ended, the second may serve."""
        other = SqliteEngine(path)
        refused = pytest.raises(StorageSetupError, match="another server is running on the database file")
        with sqlite_engine.serving(), refused, other.serving():
            pass
        with other.serving():
            pass

    def test_a_second_server_on_a_link_to_the_file_is_refused(self, sqlite_engine: SqliteEngine, path: Path) -> None:
        """The lock belongs to the file, by whichever name a server knows it."""
        link = path.with_name("link.db")
        link.symlink_to(path)
        other = SqliteEngine(link)
        refused = pytest.raises(StorageSetupError, match="another server is running on the database file")
        with sqlite_engine.serving(), refused, other.serving():
            pass
        other.close()

    def test_a_file_that_cannot_be_locked_is_refused(self, sqlite_engine: SqliteEngine, path: Path) -> None:
        """The message names the lock file."""
        path.with_name(f"{path.name}.lock").mkdir()
        with pytest.raises(StorageSetupError, match=r"mentorsync\.db\.lock"), sqlite_engine.serving():
            pass

    def test_purge_and_migrate_run_while_a_server_runs(self, sqlite_engine: SqliteEngine) -> None:
        """Only servers exclude each other."""
        with sqlite_engine.serving():
            assert migrate(sqlite_engine) == []
            with sqlite_engine.write_transaction():
                pass

    def test_servers_that_make_a_new_file_at_once_do_not_fail(self, tmp_path: Path) -> None:
        """SQLite's busy timeout does not cover the change of a new file to WAL: it is tried again."""

        def migrate_together(path: Path) -> None:
            together.wait()
            engine = SqliteEngine(path)
            applied.append(migrate(engine))
            engine.close()

        applied: list[list[str]] = []
        together = threading.Barrier(4)
        for number in range(40):
            path = tmp_path / f"{number}.db"
            threads = [threading.Thread(target=migrate_together, args=(path,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(applied) == [[]] * 120 + [["0001_initial", "0002_heads", "0003_history"]] * 40


class TestDurability:
    @pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)])
    async def test_every_connection_has_the_settings_for_durability(
        self, sqlite_engine: SqliteEngine, pragma: str, value: object
    ) -> None:
        """WAL, fsync at every commit, and deleted text overwritten, on whichever thread the connection is."""

        def setting() -> object:
            try:
                return sqlite_engine.database.execute_sql(f"PRAGMA {pragma}").fetchone()[0]
            finally:
                sqlite_engine.database.close()

        assert setting() == value
        assert await asyncio.to_thread(setting) == value


class TestFailure:
    """Calls fail while the database fails, and succeed again afterwards."""

    async def test_a_locked_database_fails_the_whole_batch_and_recovers(
        self,
        path: Path,
        clock: Clock,
        event_ids: EventIds,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Every operation of a batch gets StorageUnavailableError, nothing of it is stored, and one line is logged."""
        monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.05)
        engine = SqliteEngine(path, clock, event_ids)
        migrate(engine)
        storage = OpenedStorage(engine, clock, event_ids)
        storage.gate.close()
        first = asyncio.create_task(storage.submit())
        await storage.gate.entered()
        rest = asyncio.gather(*(storage.submit(key=str(key)) for key in range(5)), return_exceptions=True)
        await asyncio.sleep(0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.ERROR):
            other.execute("BEGIN IMMEDIATE")
            storage.gate.open()
            with pytest.raises(StorageUnavailableError):
                await first
            assert [type(outcome) for outcome in await rest] == [StorageUnavailableError] * 5
            other.execute("ROLLBACK")
        assert [record.levelname for record in caplog.records if record.levelno >= logging.ERROR] == ["ERROR"]
        assert "writes fail: database is locked" in caplog.text
        assert (await storage.submit(key="0")).sequence == 1
        await storage.close()

    def test_a_full_disk_stores_nothing_of_the_batch_and_recovers(self, sqlite_engine: SqliteEngine) -> None:
        """As soon as there is room, writes work again, and what was answered before is there."""
        store = sqlite_engine.open_store()
        before = list(store.transact(submits(3)).outcomes)
        pages = sqlite_engine.database.execute_sql("PRAGMA page_count").fetchone()[0]
        sqlite_engine.database.execute_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageUnavailableError, match="full"):
            store.transact(submits(200, "x" * 400))
        assert list(store.transact(submits(3)).outcomes) == before
        sqlite_engine.database.execute_sql("PRAGMA max_page_count = 1000000")
        outcomes = store.transact(submits(200, "x" * 400)).outcomes
        assert [event.sequence for event in outcomes if isinstance(event, SyncEvent)] == list(range(4, 204))

    @pytest.mark.usefixtures("sqlite_engine")
    def test_a_file_that_cannot_be_opened_any_more_is_unavailable(self, path: Path) -> None:
        """A write that needs a new connection fails as if the database were down; then it works again."""
        engine = SqliteEngine(path)
        moved = replace_by_folder(path)
        store = engine.open_store()
        with pytest.raises(StorageUnavailableError, match="unable to open"):
            store.transact(submits(1))
        put_back(moved, path)
        assert len(store.transact(submits(1)).outcomes) == 1
        store.close()
        engine.close()

    @pytest.mark.usefixtures("sqlite_engine")
    async def test_reads_of_a_file_that_cannot_be_opened_any_more_are_unavailable(self, path: Path) -> None:
        """Reads fail as writes do, on the event loop and on the thread of deep pages."""
        engine = SqliteEngine(path)
        moved = replace_by_folder(path)
        reader = engine.open_reader()
        for page in (1, 1_000):
            with pytest.raises(StorageUnavailableError, match="unable to open"):
                await reader.page(page, 100, None)
        with pytest.raises(StorageUnavailableError):
            await reader.probe()
        put_back(moved, path)
        assert (await reader.page(1_000, 100, None)).total == 0
        await reader.probe()
        engine.close()

    async def test_reads_of_a_broken_schema_are_unavailable(self, sqlite_engine: SqliteEngine) -> None:
        """A probe notices it, and notices when it is repaired."""
        reader = sqlite_engine.open_reader()
        sqlite_engine.database.execute_sql("ALTER TABLE log RENAME TO renamed")
        with pytest.raises(StorageUnavailableError):
            await reader.probe()
        sqlite_engine.database.execute_sql("ALTER TABLE renamed RENAME TO log")
        await reader.probe()


class TestFile:
    """The database file, when it is created and when it cannot be reached."""

    @pytest.mark.usefixtures("sqlite_engine")
    def test_only_its_user_can_read_it(self, path: Path) -> None:
        """Reasons are personal text. What SQLite keeps next to the file has the same rights."""
        files = [path, *(path.with_name(f"{path.name}-{name}") for name in ("wal", "shm"))]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3

    def test_an_existing_file_keeps_its_rights(self, path: Path) -> None:
        """An administrator may let a group read it."""
        path.touch()
        path.chmod(0o640)
        engine = SqliteEngine(path)
        migrate(engine)
        assert path.stat().st_mode & 0o777 == 0o640
        engine.close()

    @pytest.mark.parametrize("name", ["a" * 300, "folder/missing.db"])
    def test_a_path_that_cannot_be_used_is_refused(self, tmp_path: Path, name: str) -> None:
        """The message names the path and the cause."""
        engine = SqliteEngine(tmp_path / name)
        with pytest.raises(StorageSetupError, match=r"database file .* cannot be opened: "):
            migrate(engine)
        engine.close()

    def test_a_folder_that_may_not_be_entered_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the command that would create the file, and by those that would not."""

        def refuse(*_arguments: object, **_options: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "stat", refuse)  # root may enter every folder
        engine = SqliteEngine(path)
        for use in (migrate, check_current):
            with pytest.raises(StorageSetupError, match="cannot be opened: Permission denied"):
                use(engine)
        engine.close()


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///a.db", "a.db"),
            ("sqlite:////var/lib/a.db", "/var/lib/a.db"),
            ("sqlite:///a%20b.db", "a b.db"),
        ],
    )
    def test_a_url_names_a_file(self, url: str, path: str) -> None:
        """Three slashes are relative, four absolute; nothing is opened yet."""
        engine = open_engine(url)
        assert isinstance(engine, SqliteEngine)
        assert engine.path == Path(path)
        assert str(engine) == f"sqlite:///{path}"
        engine.close()

    def test_a_name_that_linux_does_not_allow_is_refused(self) -> None:
        """A percent-encoded null byte cannot be a part of a path."""
        with pytest.raises(StorageSetupError):
            open_engine("sqlite:///a%00b.db")

    def test_a_password_is_not_shown_in_an_error(self) -> None:
        """A URL that names no engine is shown by its scheme alone."""
        with pytest.raises(StorageSetupError) as raised:
            open_engine("mysql://user:password@host/name")
        assert "password@" not in str(raised.value).replace("user:password@host:port", "")
