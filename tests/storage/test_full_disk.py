"""SQLite on a disk that is full: a real file system of a few megabytes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mentorsync.domain.operations import SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.migrator import migrate
from mentorsync.storage.sqlite import checkpoints
from mentorsync.storage.sqlite.engine import SqliteEngine
from mentorsync.storage.sqlite.store import SqliteStore

from tests.storage.opened import MENTOR_ID, commit

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")

DISK_MEGABYTES = 4
WRITES = 600  # their pages in the write-ahead log need several times the disk, their events a tenth of it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "none", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this system does not allow to mount a file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - the system's own


@pytest.fixture
def store(disk: Path) -> Iterator[SqliteStore]:
    engine = SqliteEngine(disk / "mentorsync.db")
    migrate(engine)
    store = engine.open_store()
    yield store
    store.close()
    engine.close()


def submit(store: SqliteStore, reason: str = "") -> SyncEvent:
    (event,) = commit(store, [SubmitOperation(MENTOR_ID, EventType.PAUSE, reason, None, None)]).outcomes
    assert isinstance(event, SyncEvent)
    return event


def fill(disk: Path) -> Path:
    """Writes a file until there is no room left."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(DISK_MEGABYTES * 1_048_576))
    return ballast


def test_the_write_ahead_log_does_not_fill_a_small_disk(store: SqliteStore) -> None:
    """It is emptied early, so that the database file has room to grow."""
    for number in range(1, WRITES + 1):
        assert submit(store).sequence == number


def test_the_write_ahead_log_is_emptied_when_it_has_filled_the_disk(
    store: SqliteStore, disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is tried once more, and an operator is warned."""
    monkeypatch.setattr(checkpoints, "SMALL_DISK_BYTES", 0)
    event = submit(store)
    store.run_maintenance()  # the database file has all its pages: only the log grows now
    for number in range(WRITES):
        if number == 50:
            fill(disk)
        commit(store, [UpdateOperation(event.sync_event_id, number % 2 == 0, None)])
    assert "the disk is full: emptying the write-ahead log made room" in caplog.text


def test_a_full_disk_refuses_writes_until_there_is_room(store: SqliteStore, disk: Path) -> None:
    """All answered writes are stored, and no refused one."""
    answered = [submit(store)]
    ballast = fill(disk)
    with pytest.raises(StorageUnavailableError, match="full"):
        answered.extend(submit(store, "x" * 500) for _ in range(WRITES))
    ballast.unlink()
    assert submit(store).sequence == answered[-1].sequence + 1


@pytest.mark.parametrize("free_pages", [0, 2])
def test_a_probe_fails_until_there_is_room_for_a_write(store: SqliteStore, disk: Path, free_pages: int) -> None:
    """Room for two pages is not enough: the write of one event needs seven or more."""
    ballast = fill(disk)
    with pytest.raises(StorageUnavailableError, match="full"):
        [submit(store, "x" * 500) for _ in range(WRITES)]
    os.truncate(ballast, ballast.stat().st_size - free_pages * os.sysconf("SC_PAGE_SIZE"))
    for _ in range(3):
        with pytest.raises(StorageUnavailableError, match="full"):
            store.transact([])
        with pytest.raises(StorageUnavailableError, match="full"):
            submit(store, "x" * 500)
    ballast.unlink()
    store.transact([])
    submit(store)
