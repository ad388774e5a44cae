"""A store: one engine's write transactions, and the value that each of them gives."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mentorsync.domain.errors import DomainError
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import LogHead, SyncEvent


class Commit(NamedTuple):
    """The result of one batch of operations.

    `outcomes` are in the order of the operations, and `head` is the log's head after them. `clock_ahead` says by how
    many microseconds the newest stored time was ahead of the clock before; it is negative in normal operation.
    """

    outcomes: Sequence[SyncEvent | DomainError]
    head: LogHead
    clock_ahead: int
    has_erased_text: bool


class Store(Protocol):
    """Runs write transactions. All methods are called in the writer's thread."""

    def transact(self, operations: Sequence[Operation]) -> Commit:
        """Decides and stores operations in one durable transaction.

        Raises StorageUnavailableError when the database fails; a caller may then repeat.
        """

    def on_commit(self, commit: Commit) -> None:
        """Does the engine's work after a commit, such as checkpoints. A failure here changes no outcome."""

    def tidy(self) -> None:
        """Does maintenance that is best done while nobody writes."""

    def close(self) -> None: ...
