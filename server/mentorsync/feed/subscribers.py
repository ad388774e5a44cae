"""The subscribers of one event loop, and who of them is served for a change."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mentorsync import time_limits  # read at each use: tests shorten some
from mentorsync.feed.counts import Counts
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.pending import PendingPages
from mentorsync.feed.ring import Ring
from mentorsync.feed.steps import Step, Steps
from mentorsync.feed.subscriber import Subscriber
from mentorsync.feed.tail import Tail
from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.errors import StorageUnavailableError

# Served at once. Before the next ones, the transport takes their messages, and calls run: nobody waits in a long queue.
SLICE_SUBSCRIBERS = 25
LONGEST_PAUSE_SECONDS = 0.01  # after a slice; the transport may wait for a receiver that no longer reads
TICKS = 20  # in the time of a heartbeat: each comes at most so much late
# Reads of the database at a time. The log's end is read on the same threads, and must not wait behind all streams.
CATCH_UPS = 3

Answer = TypeVar("Answer")


class Subscribers:
    """Serves each subscriber for whom there is something to send. Everything here runs on one event loop.

    `end` is the revision up to which subscribers were marked, in `ring`.
    """

    def __init__(self, tail: Tail, reader: ChangeReader, observe: Callable[[float], None]) -> None:
        self.ring: Ring | None = None
        self.end = 0
        self._steps: Steps | None = None  # in this ring, up to this end
        self._turns = asyncio.Semaphore(CATCH_UPS)
        self.pages = PendingPages(reader, self._turns)
        self.loop = asyncio.get_running_loop()
        self._tail = tail
        self.counts = Counts()
        self._changed_since = 0.0  # when the process learnt of the first change that the next round sends
        self._observe = observe
        self._all: set[Subscriber] = set()
        self._marked: dict[Subscriber, None] = {}  # those to serve, in this order
        self._of_everything: set[Subscriber] = set()
        self._of_mentor: dict[str, set[Subscriber]] = {}
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        self._ticks: asyncio.Task[None] | None = None

    @property
    def stalled(self) -> int:
        return sum(subscriber.is_stalled for subscriber in tuple(self._all))

    def add(self, subscriber: Subscriber) -> None:
        if not self._all:
            self._start()
        self._all.add(subscriber)
        for group in self._groups(subscriber):
            group.add(subscriber)
        self._tail.watch()

    def remove(self, subscriber: Subscriber) -> None:
        self._all.discard(subscriber)
        self._marked.pop(subscriber, None)
        for group in self._groups(subscriber):
            group.discard(subscriber)
        for mentor_id in subscriber.mentor_ids:
            if not self._of_mentor[mentor_id]:
                del self._of_mentor[mentor_id]
        self._tail.unwatch()
        if not self._all:
            self._stop()

    def _groups(self, subscriber: Subscriber) -> Iterator[set[Subscriber]]:
        if not subscriber.mentor_ids:
            yield self._of_everything
        for mentor_id in subscriber.mentor_ids:
            yield self._of_mentor.setdefault(mentor_id, set())

    def _start(self) -> None:
        self._tail.listen(self._tell)
        self._rounds = self.loop.create_task(self._run_rounds())
        self._ticks = self.loop.create_task(self._run_ticks())

    def _stop(self) -> None:
        self._tail.forget(self._tell)
        self.ring = None
        self._changed_since = 0.0
        self._ready.clear()
        for task in (self._rounds, self._ticks):
            if task is not None:
                task.cancel()

    def _tell(self) -> None:
        """Called in any thread."""
        with suppress(RuntimeError):  # the loop has been closed, and its streams with it
            self.loop.call_soon_threadsafe(self._news.set)

    async def wait_for_ring(self) -> Ring:
        """Waits until the log has been read. Raises StorageUnavailableError if that fails or takes too long."""
        self._news.set()
        try:
            async with asyncio.timeout(time_limits.ANSWER_SECONDS):
                await self._ready.wait()
        except TimeoutError as error:
            raise StorageUnavailableError("the log takes too long") from error
        if self.ring is None:
            raise self._tail.failure or StorageUnavailableError("the log cannot be read")
        return self.ring

    async def read(self, query: Callable[..., Awaitable[Answer]], *parameters: Any) -> Answer:
        """Reads the database for one stream, when it is its turn."""
        async with self._turns:
            return await query(*parameters)

    def place(self, subscriber: Subscriber, revision: int) -> None:
        """Notes that everything up to a revision was sent."""
        subscriber.position = revision
        subscriber.missing_from = revision + 1 if revision < self.end else None

    def next_step(self, subscriber: Subscriber) -> Step | None:
        """None if the ring lacks some of the changes that a subscriber misses."""
        assert self._steps is not None
        return self._steps.after(subscriber)

    def take(self, subscriber: Subscriber, step: Step) -> None:
        """Takes a subscriber's next step, and begins to send its message."""
        if step.changes:
            self.send(subscriber, step.message)
            self.counts.deliveries += step.changes
        self.place(subscriber, step.position)

    def send(self, subscriber: Subscriber, message: bytes) -> None:
        subscriber.send(message, self.loop.time())
        self.counts.messages += 1
        self.counts.bytes += len(message)

    async def wait_for_news(self, seconds: float) -> None:
        """Lets the tail read the log, and waits for a moment."""
        self._tail.read_soon()
        await asyncio.sleep(seconds)

    def go_away(self, seconds: float) -> None:
        """Ends all streams, spread over a time."""
        for number, subscriber in enumerate(self._all):
            self.loop.call_later(seconds * number / len(self._all), subscriber.leave)

    async def _run_rounds(self) -> None:
        """Serves those for whom there are changes, one slice after the other, as long as there are any."""
        while True:
            await self._news.wait()
            self._mark()
            while self._marked:
                changed_since, self._changed_since = self._changed_since, 0.0
                await self._serve_all(tuple(self._marked))
                if changed_since:
                    self._observe(time.monotonic() - changed_since)

    async def _serve_all(self, subscribers: Sequence[Subscriber]) -> None:
        """Pauses after each slice. Changes that come meanwhile are sent together: at once to those who were not served
        yet, and to the others in the next round.
        """
        for first in range(0, len(subscribers), SLICE_SUBSCRIBERS):
            served = None
            for subscriber in subscribers[first : first + SLICE_SUBSCRIBERS]:
                self._marked.pop(subscriber, None)
                if self._is_served(subscriber):
                    served = subscriber
                else:
                    subscriber.wake()
            await asyncio.sleep(0)  # the streams that were woken send here
            if served is not None:
                await served.sent_within(LONGEST_PAUSE_SECONDS)
            if self._news.is_set():
                self._mark()

    def _is_served(self, subscriber: Subscriber) -> bool:
        """Sends what comes next. False if the stream has more to do than that, or cannot send now, and must be woken.

        To wake a stream for each message would cost twice as much.
        """
        with suppress(Exception):  # the stream meets the same error when it has been woken, and reports it
            if subscriber.is_following(self.ring) and (step := self.next_step(subscriber)):
                self.take(subscriber, step)
                return step.position >= self.end
        return False

    def _mark(self) -> None:
        """Notes for each subscriber what it misses now, and who misses something."""
        self._news.clear()
        ring = self._tail.ring
        if ring is None:
            if self._tail.failure is not None:
                self._ready.set()
            return
        end = ring.end
        is_same = ring is self.ring
        changes = ring.since(self.end, end, end) if is_same else None
        self.ring, self.end, self._steps = ring, end, Steps(ring, end)
        self._ready.set()
        if changes is None:  # another history, or more changes than the ring holds
            for subscriber in self._all if is_same else ():
                self.place(subscriber, subscriber.position)
            self._marked |= dict.fromkeys(self._all)
        elif changes:
            self._mark_for(changes)

    def _mark_for(self, changes: Sequence[EncodedChange]) -> None:
        self._changed_since = self._changed_since or changes[0].seen
        for change in changes:
            for subscriber in self._of_mentor.get(change.mentor_id, ()):
                subscriber.missing_from = subscriber.missing_from or change.revision
                self._marked[subscriber] = None
        self._marked |= dict.fromkeys(self._of_everything)

    async def _run_ticks(self) -> None:
        """Wakes those whose time has come, and marks those who do not read. Envoy ends these when they stay idle."""
        while True:
            await asyncio.sleep(time_limits.HEARTBEAT_SECONDS / TICKS)
            self._tick()

    def _tick(self) -> None:
        now = self.loop.time()
        for subscriber in tuple(self._all):
            if subscriber.is_sending:
                subscriber.is_stalled |= now - subscriber.sent_at > time_limits.STALLED_SECONDS
            elif subscriber.due <= now or subscriber.is_stalled or subscriber.has_failed:
                subscriber.wake()
