"""A store runs one engine's write transactions, and a Commit is the result of one of them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mentorsync.domain.errors import DomainError
from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead, SyncEvent
from mentorsync.storage.change_reader import EventChange


class Commit(NamedTuple):
    """The result of one batch of operations.

    `outcomes` are in the order of the operations, and `head` is the log's head after them. `clock_ahead` is the number
    of microseconds by which the newest stored time was ahead of the clock before the batch; in normal operation it is
    negative. Its changes have the revisions from `first_revision` to the head's; there may be none.
    """

    outcomes: Sequence[SyncEvent | DomainError]
    head: LogHead
    clock_ahead: int
    has_erased_text: bool
    first_revision: int
    ledger: Ledger

    @property
    def changes(self) -> list[EventChange]:
        """The batch's changes in ascending order of revision, each event once. Made anew at each use."""
        return [EventChange.of(event, self.ledger.status_of(event.mentor_id)) for event in self.ledger.changes]


class Store(Protocol):
    """Runs write transactions. All methods are called in the writer's thread."""

    def transact(self, operations: Sequence[Operation]) -> Commit:
        """Decides and stores operations in one durable transaction.

        A transaction without operations changes nothing, and fails if a write would fail: it is the probe for writes.
        Raises StorageUnavailableError when the database fails; a caller may then repeat.
        """

    def on_commit(self, commit: Commit) -> None:
        """Does the engine's work after a commit, such as checkpoints. A failure here changes no outcome."""

    def run_maintenance(self) -> None:
        """Does maintenance that is best done while there are no writes."""

    def close(self) -> None: ...
