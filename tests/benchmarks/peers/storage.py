"""The interface of storage in peers. One REST application and one gRPC service can use any implementation of it."""

from typing import NamedTuple, Protocol

from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage.reader import Page, Snapshot


class Reads(Protocol):
    """The methods of the Reader in mentorsync.storage."""

    async def page(self, page: int, limit: int, mentor_id: str | None) -> Page: ...

    async def snapshot(self, mentor_id: str) -> Snapshot: ...


class Writes(Protocol):
    """The method of the Writer in mentorsync.storage."""

    async def write(self, operation: Operation) -> SyncEvent: ...


class Storage(NamedTuple):
    reads: Reads
    writes: Writes
