"""The part of a write transaction that is the same for every engine: from the loaded rows to the changes to save."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead
from mentorsync.storage.rows import Row, event_from_row, mentor_from_row
from mentorsync.storage.store import Commit


class Loaded(NamedTuple):
    """The data that one batch needs. `mentors` and `events` are rows; `clock` is in microseconds."""

    head: LogHead
    mentors: Iterable[Row]
    events: Iterable[Row]
    clock: int


def decide(operations: Sequence[Operation], loaded: Loaded, new_event_id: Callable[[], str]) -> tuple[Ledger, Commit]:
    """Decides operations in order. The ledger then holds the changes to save. The Commit is the batch's result."""
    mentors, events = map(mentor_from_row, loaded.mentors), map(event_from_row, loaded.events)
    ledger = Ledger(loaded.head, mentors, events, loaded.clock, new_event_id)
    outcomes = ledger.apply_all(operations)
    first_revision = loaded.head.last_revision + 1
    return ledger, Commit(outcomes, ledger.head, ledger.clock_ahead, ledger.has_erased_text, first_revision, ledger)
