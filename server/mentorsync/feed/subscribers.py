"""The subscribers of one event loop, and who of them is woken for a change."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from mentorsync import time_limits  # read at each use: tests shorten some
from mentorsync.feed.counts import Counts
from mentorsync.feed.cursor import Cursor
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.formats import Format
from mentorsync.feed.pending import PendingPages
from mentorsync.feed.ring import Ring
from mentorsync.feed.tail import Tail
from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.errors import StorageUnavailableError

MESSAGE_CHANGES = 200  # in one message: 80 KB of server-sent events
SLICE_SUBSCRIBERS = 100  # woken at once, which takes about a millisecond; other calls run between two slices
PAUSE = 2  # after a slice, times what it took: the feed takes at most a third of the event loop
SHORTEST_PAUSE = 0.0005  # seconds; the event loop's timers round less to nothing
TICKS = 20  # in the time of a heartbeat: each comes at most so much late
KEPT_MESSAGES = 16  # encoded; those who get the same message get it within one round
CATCH_UPS = 3  # reads of the database at a time, so that calls find a free connection


class Subscriber:
    """One stream's place in the feed.

    Everything up to `position` was sent. `missing_from` is the revision of the first change after it that it wants and
    that was not sent, or None; one that wants everything does without. `due` is when it wants to be woken in any case,
    in seconds of the loop's clock.
    """

    __slots__ = (
        "due",
        "is_leaving",
        "is_stalled",
        "mentor_ids",
        "missing_from",
        "position",
        "sending_since",
        "task",
        "waiter",
    )

    def __init__(self, mentor_ids: frozenset[str], task: "asyncio.Task[object]") -> None:
        self.mentor_ids = mentor_ids
        self.task = task
        self.position = 0
        self.missing_from: int | None = None
        self.due = 0.0
        self.sending_since: float | None = None
        self.is_leaving = False
        self.is_stalled = False
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def cut_if_sending_since(self, time: float) -> None:
        """Cancels the stream if its receiver still has not taken the message that was sent then."""
        if self.sending_since == time:
            self.is_stalled = True
            self.task.cancel()

    def misses_from(self, end: int) -> int | None:
        """The revision of the first change up to `end` that it may miss."""
        if self.mentor_ids:
            return self.missing_from
        return self.position + 1 if self.position < end else None

    def wanted(self, changes: list[EncodedChange]) -> list[EncodedChange]:
        if not self.mentor_ids:
            return changes
        return [change for change in changes if change.mentor_id in self.mentor_ids]


class Subscribers:
    """Wakes each subscriber that has something to send. Everything here runs on one event loop.

    `end` is the revision up to which subscribers were marked, in `ring`.
    """

    def __init__(self, tail: Tail, reader: ChangeReader, observe: Callable[[float], None]) -> None:
        self.ring: Ring | None = None
        self.end = 0
        self.catch_ups = asyncio.Semaphore(CATCH_UPS)
        self.pages = PendingPages(reader, self.catch_ups)
        self.loop = asyncio.get_running_loop()
        self._tail = tail
        self.counts = Counts()
        self._changed_since = 0.0  # when the process learnt of the first change that the next round sends
        self._encoded: dict[object, bytes] = {}
        self._observe = observe
        self._all: set[Subscriber] = set()
        self._marked: dict[Subscriber, None] = {}  # those to wake, in this order
        self._of_everything: set[Subscriber] = set()
        self._of_mentor: dict[str, set[Subscriber]] = {}
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        self._ticks: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._all)

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
        if not self.loop.is_closed():
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

    def place(self, subscriber: Subscriber, revision: int) -> None:
        """Notes that everything up to a revision was sent."""
        subscriber.position = revision
        subscriber.missing_from = revision + 1 if revision < self.end else None

    def take(self, subscriber: Subscriber) -> list[EncodedChange] | None:
        """The next changes to send, if any; `position` then is after them. None if the ring no longer has them all."""
        assert self.ring is not None
        while (first := subscriber.misses_from(self.end)) is not None:
            changes = self.ring.since(max(first - 1, subscriber.position), self.end, MESSAGE_CHANGES)
            if changes is None:
                return None
            is_end = len(changes) < MESSAGE_CHANGES
            self.place(subscriber, max(self.end if is_end else changes[-1].revision, subscriber.position))
            if wanted := subscriber.wanted(changes):
                return wanted
        subscriber.position = max(subscriber.position, self.end)
        return []

    def encoded(self, made: Format, changes: Sequence[EncodedChange], cursor: Cursor) -> bytes:
        """The message with these changes, made once for all who get the same in one round."""
        key = (made, changes[0].revision, len(changes), cursor)
        message = self._encoded.get(key)
        if message is None:
            if len(self._encoded) >= KEPT_MESSAGES:
                self._encoded.clear()
            message = self._encoded[key] = made.changes(changes, cursor)
        return message

    async def wait_for_news(self, seconds: float) -> None:
        """Lets the tail read the log, and waits for a moment."""
        self._tail.read_soon()
        await asyncio.sleep(seconds)

    async def wait(self, subscriber: Subscriber) -> None:
        """Waits until the subscriber has something to do."""
        subscriber.waiter = self.loop.create_future()
        try:
            await subscriber.waiter
        finally:
            subscriber.waiter = None

    def go_away(self, seconds: float) -> None:
        """Ends all streams, spread over a time."""
        for number, subscriber in enumerate(self._all):
            self.loop.call_later(seconds * number / len(self._all), _leave, subscriber)

    async def _run_rounds(self) -> None:
        """Wakes those for whom there are changes, one slice after the other, as long as there are any."""
        while True:
            await self._news.wait()
            self._mark()
            while self._marked:
                changed_since, self._changed_since = self._changed_since, 0.0
                await self._wake(tuple(self._marked))
                if changed_since:
                    self._observe(time.monotonic() - changed_since)

    async def _wake(self, subscribers: Sequence[Subscriber]) -> None:
        """Pauses after each slice, so that calls run. Changes that come meanwhile are sent together: at once to those
        who were not woken yet, and to the others in the next round.
        """
        for first in range(0, len(subscribers), SLICE_SUBSCRIBERS):
            started = time.monotonic()
            for subscriber in subscribers[first : first + SLICE_SUBSCRIBERS]:
                self._marked.pop(subscriber, None)
                subscriber.wake()
            await asyncio.sleep(0)  # the subscribers send here
            pause = PAUSE * (time.monotonic() - started)
            if pause > SHORTEST_PAUSE:
                await asyncio.sleep(pause)
            if self._news.is_set():
                self._mark()

    def _mark(self) -> None:
        """Notes for each subscriber what it misses now, and who misses something."""
        self._news.clear()
        ring = self._tail.ring
        if ring is None:
            if self._tail.failure is not None:
                self._ready.set()
            return
        end = ring.end
        changes = ring.since(self.end, end, end) if ring is self.ring else None
        is_same, self.ring, self.end = ring is self.ring, ring, end
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
        """Wakes those whose time has come, and marks those who do not read. The gateway cuts these off."""
        while True:
            await asyncio.sleep(time_limits.HEARTBEAT_SECONDS / TICKS)
            now = self.loop.time()
            for subscriber in tuple(self._all):
                since = subscriber.sending_since
                if since is None and subscriber.due <= now:
                    subscriber.wake()
                elif since is not None and now - since > time_limits.STALLED_SECONDS:
                    subscriber.is_stalled = True


def _leave(subscriber: Subscriber) -> None:
    subscriber.is_leaving = True
    subscriber.wake()
    if subscriber.sending_since is not None:
        loop = subscriber.task.get_loop()
        loop.call_later(time_limits.LEAVE_SECONDS, subscriber.cut_if_sending_since, subscriber.sending_since)
