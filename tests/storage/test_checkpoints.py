"""SQLite's write-ahead log under load: it is emptied while writes go on."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.sqlite import checkpoints
from mentorsync.storage.sqlite.engine import SqliteEngine
from mentorsync.storage.sqlite.store import SqliteStore

from tests.storage.opened import MENTOR_ID, commit

MOST_WRITES = 4_000  # far fewer pages than SQLite's own checkpoint would wait for
RESTARTS_OFFSET, RESTARTS_BYTES = (
    12,
    4,
)  # how often the log was restarted: https://www.sqlite.org/fileformat2.html#walformat


@pytest.fixture
def write(sqlite_engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Commits one more event, with a checkpoint due after every 20."""
    monkeypatch.setattr(checkpoints, "OPERATIONS", 20)
    store = sqlite_engine.open_store()
    return lambda: submit(store)


def submit(store: SqliteStore) -> object:
    return commit(store, [SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None)]).outcomes[0]


def restarts(path: Path) -> int:
    with path.with_name(f"{path.name}-wal").open("rb") as log:
        log.seek(RESTARTS_OFFSET)
        return int.from_bytes(log.read(RESTARTS_BYTES), "big")


def test_the_log_begins_anew_under_load(path: Path, write: Callable[[], object]) -> None:
    """Even if the writer is never idle: otherwise the log would grow without end."""
    write()
    before = restarts(path)
    assert any(write() and restarts(path) - before >= 3 for _ in range(MOST_WRITES))


@pytest.mark.parametrize("failure", [sqlite3.OperationalError, peewee.OperationalError])
def test_a_checkpoint_that_fails_fails_no_write(
    write: Callable[[], object],
    failure: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The commit stays valid, and the failure is logged once."""

    def fail(_checkpoints: checkpoints.Checkpoints) -> None:
        raise failure("disk I/O error")

    monkeypatch.setattr(checkpoints.Checkpoints, "_checkpoint", fail)
    with caplog.at_level(logging.WARNING):
        assert any(write() and "cannot be emptied: disk I/O error" in caplog.text for _ in range(MOST_WRITES))
