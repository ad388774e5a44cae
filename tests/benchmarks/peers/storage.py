"""What a peer needs of a storage, so that one REST application and one gRPC service can stand on any of them."""

from typing import NamedTuple, Protocol

from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage.reader import Page, Snapshot


class Reads(Protocol):
    """As mentorsync.storage's Reader."""

    async def page(self, page: int, limit: int, mentor_id: str | None) -> Page: ...

    async def snapshot(self, mentor_id: str) -> Snapshot: ...


class Writes(Protocol):
    """As mentorsync.storage's Writer."""

    async def write(self, operation: Operation) -> SyncEvent: ...


class Storage(NamedTuple):
    reads: Reads
    writes: Writes
