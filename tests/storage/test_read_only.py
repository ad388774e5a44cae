"""SQLite whose file cannot be written any more, as after an error of the disk."""

import pytest
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.sqlite.engine import SqliteEngine

from tests.storage.opened import MENTOR_ID, commit


def test_a_read_only_file_refuses_writes_until_it_can_be_written(sqlite_engine: SqliteEngine) -> None:
    """Callers get STORAGE_UNAVAILABLE, and nothing of the refused write is stored."""
    store = sqlite_engine.open_store()
    submit = SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None)
    commit(store, [submit])
    sqlite_engine.database.execute_sql("PRAGMA query_only = 1")  # the error of a read-only file, also for root
    with pytest.raises(StorageUnavailableError, match="readonly"):
        store.transact([submit])
    sqlite_engine.database.execute_sql("PRAGMA query_only = 0")
    (event,) = commit(store, [submit]).outcomes
    assert not isinstance(event, Exception)
    assert event.sequence == 2
    store.close()
