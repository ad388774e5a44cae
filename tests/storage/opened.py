"""A database of one engine, opened as the service opens it."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from mentorsync.domain.ledger import draw_event_id
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.engine import Engine
from mentorsync.storage.reader import EventRow
from mentorsync.storage.store import Commit, Store
from mentorsync.storage.writer import Writer

START = 1_774_516_500_000_000  # 2026-03-26T09:15:00Z, in microseconds
MENTOR_ID = "mntr_01HX4V2K8P"
WAIT_SECONDS = 10
POLL_SECONDS = 0.001  # between two looks at what another thread does


class OpenEngine(Protocol):
    """Opens the test's database of the given name: empty at first, and the same one at every call."""

    def __call__(
        self, clock: Callable[[], int], new_event_id: Callable[[], str], name: str = "mentorsync"
    ) -> Engine: ...


class Clock:
    """A clock that moves only when a test sets `seconds`, counted from START."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> int:
        return START + int(self.seconds * 1_000_000)


class EventIds:
    """Returns the ids in `planned` first, then random ones."""

    def __init__(self) -> None:
        self.planned: list[str] = []

    def __call__(self) -> str:
        return self.planned.pop(0) if self.planned else draw_event_id()


class Gate:
    """Holds transactions back, so that the writes queued behind the first one make one batch."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._entered = threading.Event()

    def close(self) -> None:
        self._entered.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def entered(self) -> None:
        """Waits until a transaction waits at the closed gate."""
        assert await asyncio.to_thread(self._entered.wait, WAIT_SECONDS)

    def pass_through(self) -> None:
        self._entered.set()
        assert self._open.wait(WAIT_SECONDS)


class GatedStore:
    """A store whose transactions wait at a gate. `commits` counts those that succeeded."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self.commits = 0
        self.on_commit = store.on_commit
        self.run_maintenance = store.run_maintenance
        self.close = store.close

    def transact(self, operations: Sequence[Operation]) -> Commit:
        self._gate.pass_through()
        commit = self._store.transact(operations)
        self.commits += 1
        return commit


def commit(store: Store, operations: Sequence[Operation]) -> Commit:
    """Commits a batch and does the work that follows a commit, as the writer does."""
    result = store.transact(operations)
    store.on_commit(result)
    return result


def ids_of(rows: Sequence[EventRow]) -> list[str]:
    return [sync_event_id for sync_event_id, *_ in rows]


class OpenedStorage:
    """An engine with its writer and reader. `batches` are the sizes of the batches that were announced so far."""

    def __init__(self, engine: Engine, clock: Clock, event_ids: EventIds) -> None:
        self.engine = engine
        self.clock = clock
        self.event_ids = event_ids
        self.gate = Gate()
        self.batches: list[int] = []
        self.writer = Writer(self._open_store, self._on_commit)
        self.reader = engine.open_reader()

    def _open_store(self) -> Store:
        self._store = GatedStore(self.engine.open_store(), self.gate)
        return self._store

    def _on_commit(self, commit: Commit) -> None:
        self.batches.append(len(commit.outcomes))

    async def announced(self) -> None:
        """Waits until the work after every commit so far is done. Callers get their answers before that."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.batches) < self._store.commits:
                await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        self.gate.open()
        await self.writer.close()
        self.engine.close()

    async def update(
        self, event: SyncEvent, *, acknowledged: bool | None = None, reason: str | None = None
    ) -> SyncEvent:
        return await self.writer.write(UpdateOperation(event.sync_event_id, acknowledged, reason))

    async def delete(self, event: SyncEvent) -> SyncEvent:
        return await self.writer.write(DeleteOperation(event.sync_event_id))

    async def submit(
        self,
        event_type: EventType = EventType.PAUSE,
        *,
        mentor_id: str = MENTOR_ID,
        reason: str = "",
        client_timestamp: int | None = None,
        key: str | None = None,
    ) -> SyncEvent:
        return await self.writer.write(SubmitOperation(mentor_id, event_type, reason, client_timestamp, key))

    async def submit_many(self, count: int, mentor_id: str = MENTOR_ID) -> list[SyncEvent]:
        """Submits events at once and returns them in the order of their sequence."""
        events = await asyncio.gather(*(self.submit(mentor_id=mentor_id) for _ in range(count)))
        return sorted(events)

    async def pending_ids(self, mentor_id: str | None = None) -> list[str]:
        """Reads the ids of all pending events page by page. The totals must be exact."""
        ids: list[str] = []
        page = 1
        while True:
            result = await self.reader.page(page, 100, mentor_id)
            ids += ids_of(result.events)
            if not result.events:
                assert result.total == len(ids)
                return ids
            page += 1
