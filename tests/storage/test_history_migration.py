"""0003_history: a database with events gets the live feed's index and an epoch, and its events are found as changes."""

import shutil
from pathlib import Path

import pytest
from mentorsync.domain.operations import DeleteOperation, SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage import migrator
from mentorsync.storage.engine import Engine
from mentorsync.storage.migrator import check_current, migrate

from tests.storage.opened import MENTOR_ID

EVENTS = 30
HALF_WAY = """
def up(migrator, db):
    raise RuntimeError("half-way")
"""


@pytest.fixture
def old_engine(empty_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database of the version before, with events of which the first is deleted."""
    before = tmp_path / "before"
    before.mkdir()
    for name in ("0001_initial.py", "0002_heads.py"):
        shutil.copy(migrator.MIGRATIONS / name, before)
    with monkeypatch.context() as patch:
        patch.setattr(migrator, "MIGRATIONS", before)
        migrate(empty_engine)
    store = empty_engine.open_store()
    submits = [SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None) for _ in range(EVENTS)]
    first = store.transact(submits).outcomes[0]
    assert isinstance(first, SyncEvent)
    store.transact([DeleteOperation(first.sync_event_id)])
    store.close()
    return empty_engine


async def test_the_events_are_found_as_changes(old_engine: Engine) -> None:
    """Nothing counts as purged: no cursor is older than the migration."""
    assert migrate(old_engine) == ["0003_history"]
    position, changes = await old_engine.open_change_reader().changes_after(0, 1_000)
    assert position.epoch > 0
    assert (position.last_revision, position.purged_revision) == (EVENTS + 1, 0)
    assert [change.revision for change in changes] == list(range(2, EVENTS + 2))
    assert changes[-1].deleted


async def test_a_migration_that_was_interrupted_is_repeated(
    old_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left nothing behind, neither the table nor the index."""
    directory = tmp_path / "interrupted"
    shutil.copytree(migrator.MIGRATIONS, directory)
    (directory / "0004_half_way.py").write_text(HALF_WAY)
    with monkeypatch.context() as patch:
        patch.setattr(migrator, "MIGRATIONS", directory)
        with pytest.raises(RuntimeError, match="half-way"):
            migrate(old_engine)
    assert "history" not in old_engine.database.get_tables()
    assert migrate(old_engine) == ["0003_history"]
    check_current(old_engine)
