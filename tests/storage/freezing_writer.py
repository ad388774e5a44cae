"""A writer that freezes between two statements of its first batch, while it has the log's lock.

Run as a module, with the database URL as argument. Prints the sequence of the event that it submits.
"""

import os
import signal
import sys
from typing import Any

from mentorsync.domain.ledger import draw_event_id
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.store import PostgresStore

from tests.storage.opened import MENTOR_ID


class FreezingStore(PostgresStore):
    _has_frozen = False

    def _load(self, *arguments: Any) -> Any:
        """Is called between the statement that takes the lock and the end of the first round trip."""
        if not self._has_frozen:
            self._has_frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return super()._load(*arguments)


def main(url: str) -> None:
    engine = PostgresEngine(url)
    store = FreezingStore(engine.database, None, draw_event_id)
    submit = SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, "freezing")
    try:
        (event,) = store.transact([submit]).outcomes
    except StorageUnavailableError:  # it was frozen for longer than a batch is tried again; a caller repeats it
        (event,) = store.transact([submit]).outcomes
    assert isinstance(event, SyncEvent)
    sys.stdout.write(f"{event.sequence}\n")
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
