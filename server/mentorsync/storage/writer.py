"""The one writer: all writes of a process, in batches, one transaction each."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError
from mentorsync.storage.store import Commit, Store

MAX_QUEUED_WRITES = 1_024  # bounds memory and waiting: a fuller queue could not be served within a phone's patience
MAX_BATCH_OPERATIONS = 256  # bounds how long one transaction keeps the write lock
IDLE_SECONDS = 1.0  # without a write for this long, the store may tidy up
ANSWER_SECONDS = 8.0  # whatever holds the database up, a caller is told so before the deadline that the gateway sets
CLOCK_AHEAD_SECONDS = 60  # a stored time further ahead of the clock than this is an operator's business

logger = logging.getLogger(__name__)


class _Write(NamedTuple):
    operation: Operation
    outcome: "asyncio.Future[SyncEvent]"


class Writer:
    """Queues writes and commits what waits together (group commit), on a thread of its own.

    An operation that is cancelled before its batch starts is dropped; from then on it happens, whoever still waits.
    """

    def __init__(self, open_store: Callable[[], Store], on_commit: Callable[[Commit], None]) -> None:
        self._open_store = open_store
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._queued = 0
        self._stopping = False
        self._is_unavailable = False
        self.clock_ahead_seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()  # with the exception that ended the thread
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many writes are waiting or being written."""
        return self._queued

    async def write(self, operation: Operation) -> SyncEvent:
        """Returns the event as the operation left it, once that is durable.

        Raises a DomainError when the operation is refused, OverloadedError when too many wait, and
        StorageUnavailableError when the database fails or takes too long; what had begun then may still happen.
        """
        if self._queued >= MAX_QUEUED_WRITES:
            raise OverloadedError
        outcome: asyncio.Future[SyncEvent] = self._loop.create_future()
        self._queued += 1
        self._queue.put(_Write(operation, outcome))
        timer = self._loop.call_later(ANSWER_SECONDS, _give_up, outcome)
        try:
            return await outcome
        finally:
            timer.cancel()

    async def probe(self) -> None:
        """Raises StorageUnavailableError when writes cannot work."""
        if not self._thread.is_alive():
            raise StorageUnavailableError("the writer has ended")

    async def close(self) -> None:
        """Writes what is queued, then stops. Nothing may be queued any more."""
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - whoever watches the writer raises it again
            self._loop.call_soon_threadsafe(self.ended.set_exception, error)

    def _serve(self) -> None:
        with closing(self._open_store()) as store:
            while not self._stopping:
                if batch := self._take_batch(store):
                    self._write_batch(store, batch)

    def _take_batch(self, store: Store) -> list[_Write]:
        """Waits for a write, and takes with it whatever waits too: nobody waits for a batch to fill."""
        batch: list[_Write] = []
        write = self._first_write(store)
        while write is not None:
            batch.append(write)
            if len(batch) == MAX_BATCH_OPERATIONS:
                return batch
            try:
                write = self._queue.get_nowait()
            except Empty:
                return batch
        self._stopping = True
        return batch

    def _first_write(self, store: Store) -> _Write | None:
        while True:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                self._tidy(store)

    def _tidy(self, store: Store) -> None:
        try:
            store.tidy()
        except Exception as error:  # noqa: BLE001 - whatever it is, the writer lives on, and tidies up another time
            logger.warning("tidying up failed: %s", error)

    def _write_batch(self, store: Store, batch: list[_Write]) -> None:
        wanted = [write for write in batch if not write.outcome.done()]
        commits: list[Commit] = []
        outcomes = self._transact(store, [write.operation for write in wanted], commits) if wanted else []
        self._loop.call_soon_threadsafe(self._answer, len(batch), wanted, outcomes)
        for commit in commits:
            self._announce(store, commit)

    def _transact(
        self, store: Store, operations: list[Operation], commits: list[Commit]
    ) -> Sequence[SyncEvent | Exception]:
        """Runs one transaction, or one for each operation where a single operation fails, and adds to `commits`."""
        try:
            commit = store.transact(operations)
        except StorageUnavailableError as error:
            self._tell_availability(error)
            return [StorageUnavailableError() for _ in operations]
        except Exception as error:  # noqa: BLE001 - any failure goes to the caller, and the writer goes on
            if len(operations) == 1:
                return [error]
            # One operation must not take the others down with it.
            return [outcome for operation in operations for outcome in self._transact(store, [operation], commits)]
        self._tell_availability(None)
        commits.append(commit)
        return commit.outcomes

    def _announce(self, store: Store, commit: Commit) -> None:
        """Does the work that follows a commit. The callers have their answers: a failure here is only logged."""
        try:
            self._watch_clock(commit.clock_ahead / 1_000_000)
            store.on_commit(commit)
            self._on_commit(commit)
        except Exception:
            logger.exception("work after a commit failed; the commit itself is complete")

    def _tell_availability(self, error: StorageUnavailableError | None) -> None:
        """Logs where an outage begins and ends; between, every batch fails, hundreds in a second."""
        if error is not None and not self._is_unavailable:
            logger.error("storage is unavailable, writes fail: %s", error)
        elif error is None and self._is_unavailable:
            logger.warning("storage is available again, writes succeed")
        self._is_unavailable = error is not None

    def _watch_clock(self, ahead_seconds: float) -> None:
        was_ahead = self.clock_ahead_seconds > CLOCK_AHEAD_SECONDS
        self.clock_ahead_seconds = max(ahead_seconds, 0.0)
        if ahead_seconds > CLOCK_AHEAD_SECONDS and not was_ahead:
            logger.warning(
                "the newest stored time is %.0f s ahead of the clock: times stand still until the clock has caught up; "
                "check the clock of the machine",
                ahead_seconds,
            )

    def _answer(self, taken: int, writes: list[_Write], outcomes: Sequence[SyncEvent | Exception]) -> None:
        self._queued -= taken
        for write, outcome in zip(writes, outcomes, strict=True):
            if write.outcome.done():
                continue
            if isinstance(outcome, Exception):
                write.outcome.set_exception(outcome)
            else:
                write.outcome.set_result(outcome)


def _give_up(outcome: "asyncio.Future[SyncEvent]") -> None:
    if not outcome.done():
        outcome.set_exception(StorageUnavailableError("the database takes too long"))
