"""The one writer of a process: it runs one transaction for each batch of queued writes."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from contextvars import Context
from queue import Empty

from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage.announcer import Announcer, ClockWatch
from mentorsync.storage.errors import StorageUnavailableError, WriterFailedError
from mentorsync.storage.failure_log import FailureLog
from mentorsync.storage.store import Commit, Store
from mentorsync.storage.write_queue import QueuedWrite, WriteQueue, call_in_loop
from mentorsync.time_limits import ANSWER_SECONDS

# From the contexts of the callers that a transaction writes for to a context manager, in which the transaction runs.
TraceTransaction = Callable[[Sequence[Context]], AbstractContextManager[None]]

IDLE_SECONDS = 1.0  # after this long without a write, the store does its maintenance

logger = logging.getLogger(__name__)


def untraced(_callers: Sequence[Context]) -> AbstractContextManager[None]:
    return nullcontext()


class Writer:
    """Commits all waiting writes in one transaction (group commit), on a thread of its own.

    `listeners` are called after each commit, in the writer's thread. Writes may come from several event loops; each
    caller is answered on its own loop. A write that is cancelled before its batch starts is dropped; after that it is
    carried out.

    `ended` is done when the thread has ended: without an exception after `close`, and with a WriterFailedError if an
    unforeseen exception ended it. It belongs to the event loop that made the writer.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *listeners: Callable[[Commit], None],
        trace_transaction: TraceTransaction = untraced,
    ) -> None:
        self._open_store = open_store
        self._listeners = listeners
        self._trace_transaction = trace_transaction
        self._clock_watch = ClockWatch()
        self._availability = FailureLog(
            logger, "storage is unavailable, writes fail", "storage is available again, writes succeed"
        )
        self._maintenance = FailureLog(
            logger, "maintenance of the database failed", "maintenance of the database works again"
        )
        self._queue = WriteQueue()
        self._busy_since: float | None = time.monotonic()  # opening the store counts as work
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many writes are waiting or being written."""
        return self._queue.size

    @property
    def clock_ahead_seconds(self) -> float:
        """How far the newest stored time is ahead of the clock."""
        return self._clock_watch.ahead_seconds

    async def write(self, operation: Operation) -> SyncEvent:
        """Returns the event as the operation left it, once that is durable.

        Raises a DomainError when the operation is refused, OverloadedError when too many writes wait, and
        StorageUnavailableError when the database fails, takes too long or is closed. A write whose batch had begun
        may still be carried out after that.
        """
        outcome = self._queue.add(operation)
        timer = outcome.get_loop().call_later(ANSWER_SECONDS, _fail_late, outcome)
        try:
            return await outcome
        finally:
            timer.cancel()

    async def probe(self) -> None:
        """Raises StorageUnavailableError while writes fail.

        Does not write. While writes fail, the writer's thread tries an empty transaction every second.
        """
        if self._queue.is_closed:
            raise StorageUnavailableError("the writer has ended")
        if self._availability.is_failing:
            raise StorageUnavailableError("the last write transaction failed")
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > ANSWER_SECONDS:
            raise StorageUnavailableError(f"a write transaction has taken more than {ANSWER_SECONDS:g} s")

    async def close(self) -> None:
        """Writes all queued writes, then stops. Every later write is refused."""
        self._queue.close()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            with closing(self._open_store()) as store:
                self._serve(store)
        except BaseException as error:
            logger.critical("the writer failed: all writes are refused until the process is restarted", exc_info=True)
            self._end(WriterFailedError(f"the writer failed: {error!r}"))
        else:
            self._end(None)

    def _end(self, error: WriterFailedError | None) -> None:
        self._queue.refuse_all()
        call_in_loop(self._loop, _set_ended, self.ended, error)

    def _serve(self, store: Store) -> None:
        # The store's work comes last: it may take long, and the live feed is among the listeners.
        announcer = Announcer((self._clock_watch.on_commit, *self._listeners, store.on_commit))
        self._busy_since = None
        while not self._queue.has_reached_end:
            try:
                batch = self._queue.take_batch(IDLE_SECONDS)
            except Empty:
                self._use_idle_time(store)
                continue
            self._busy_since = time.monotonic()
            for commit in self._write_batch(store, batch):
                announcer.announce(commit)
            self._busy_since = None

    def _use_idle_time(self, store: Store) -> None:
        if self._availability.is_failing:
            self._transact(store, [], [])  # finds out whether writes work again
            return
        try:
            store.run_maintenance()
        except Exception as error:  # noqa: BLE001 - the writer goes on, and tries again in the next idle second
            self._maintenance.fail(error)
        else:
            self._maintenance.succeed()

    def _write_batch(self, store: Store, batch: list[QueuedWrite]) -> list[Commit]:
        """Writes a batch, answers its callers, and returns its commits: none if all writes were cancelled."""
        wanted = [write for write in batch if not write.outcome.done()]
        commits: list[Commit] = []
        outcomes = self._transact(store, wanted, commits) if wanted else []
        self._queue.answer_batch(wanted, outcomes)
        return commits

    def _transact(
        self, store: Store, writes: Sequence[QueuedWrite], commits: list[Commit]
    ) -> Sequence[SyncEvent | Exception]:
        """Runs one transaction, or one for each write if a single write fails, and adds to `commits`."""
        try:
            with self._trace_transaction([write.caller for write in writes]):
                commit = store.transact([write.operation for write in writes])
        except StorageUnavailableError as error:
            self._availability.fail(error)
            return [StorageUnavailableError() for _ in writes]
        except Exception as error:  # noqa: BLE001 - the caller gets any failure, and the writer goes on
            if len(writes) == 1:
                return [error]
            # One write that fails must not fail the others.
            return [outcome for write in writes for outcome in self._transact(store, [write], commits)]
        self._availability.succeed()
        commits.append(commit)
        return commit.outcomes


def _set_ended(ended: "asyncio.Future[None]", error: WriterFailedError | None) -> None:
    if ended.done():  # it was cancelled together with the task that awaited it
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
        ended.exception()  # marks it as retrieved: the log has it already, so asyncio need not report it


def _fail_late(outcome: "asyncio.Future[SyncEvent]") -> None:
    if not outcome.done():
        outcome.set_exception(StorageUnavailableError("the database takes too long"))
