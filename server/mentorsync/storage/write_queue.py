"""The bounded queue of writes, from the event loops of their callers to the writer's thread and back."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError

MAX_QUEUED_WRITES = 1_024  # bounds memory and waiting: phones would give up before a longer queue was served
MAX_BATCH_OPERATIONS = 256  # bounds how long one transaction holds the write lock


class QueuedWrite(NamedTuple):
    operation: Operation
    outcome: "asyncio.Future[SyncEvent]"
    caller: Context  # of the caller's task: tracing finds the call's span there


class WriteQueue:
    """Callers on any number of event loops add writes; one thread takes them in batches and answers them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[QueuedWrite | None] = SimpleQueue()  # None is the end
        self._lock = threading.Lock()  # guards the two values below
        self._size = 0
        self.is_closed = False
        self._batch: list[QueuedWrite] = []
        self.has_reached_end = False

    @property
    def size(self) -> int:
        """How many writes are waiting or being written."""
        return self._size

    def add(self, operation: Operation) -> "asyncio.Future[SyncEvent]":
        """Queues a write. The future belongs to the running event loop.

        Raises OverloadedError when too many writes wait, and StorageUnavailableError once the queue is closed.
        """
        outcome: asyncio.Future[SyncEvent] = asyncio.get_running_loop().create_future()
        with self._lock:  # a write that is queued after the end would never be answered
            if self.is_closed:
                raise StorageUnavailableError("the writer has ended")
            if self._size >= MAX_QUEUED_WRITES:
                raise OverloadedError
            self._size += 1
            self._queue.put(QueuedWrite(operation, outcome, copy_context()))
        return outcome

    def close(self) -> None:
        """Refuses later writes. Those that are queued are still taken."""
        with self._lock:
            self.is_closed = True
            self._queue.put(None)

    def take_batch(self, seconds: float) -> list[QueuedWrite]:
        """Waits for a write, then takes all others that are queued. Never waits for a batch to fill.

        Raises Empty when no write comes within the given time. Returns an empty batch at the end of the queue.
        """
        batch = self._batch
        write = self._queue.get(timeout=seconds)
        while write is not None:
            batch.append(write)
            if len(batch) == MAX_BATCH_OPERATIONS:
                return batch
            try:
                write = self._queue.get_nowait()
            except Empty:
                return batch
        self.has_reached_end = True
        return batch

    def answer_batch(self, writes: Sequence[QueuedWrite], outcomes: Sequence[SyncEvent | Exception]) -> None:
        """Answers these writes of the batch that was taken. The other writes of the batch were cancelled."""
        with self._lock:
            self._size -= len(self._batch)
        self._batch = []
        _answer(writes, outcomes)

    def refuse_all(self) -> None:
        """Closes the queue, and gives StorageUnavailableError to every write that has no answer yet."""
        with self._lock:
            self.is_closed = True
            self._size = 0
        with suppress(Empty):
            while True:
                if write := self._queue.get_nowait():
                    self._batch.append(write)
        _answer(self._batch, [StorageUnavailableError("the writer has ended") for _ in self._batch])


def call_in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Calls a function in the thread of an event loop, or not at all if the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def _answer(writes: Sequence[QueuedWrite], outcomes: Sequence[SyncEvent | Exception]) -> None:
    """Answers all callers of an event loop by one call into it."""
    answers: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[SyncEvent], SyncEvent | Exception]]] = {}
    for write, outcome in zip(writes, outcomes, strict=True):
        answers.setdefault(write.outcome.get_loop(), []).append((write.outcome, outcome))
    for loop, pairs in answers.items():
        call_in_loop(loop, _set_outcomes, pairs)


def _set_outcomes(pairs: list[tuple["asyncio.Future[SyncEvent]", SyncEvent | Exception]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
