"""The end of the log, followed once for the whole process, while somebody watches."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.pauses import Pauses
from mentorsync.feed.ring import Ring
from mentorsync.storage.change_reader import ChangeReader, Changes, EventChange, LogPosition
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.failure_log import FailureLog
from mentorsync.storage.store import Commit

PAGE_CHANGES = 500  # of one read; a page takes a few milliseconds
# Read when the first subscriber comes. After a restart, all who were connected before then continue from memory.
FIRST_CHANGES = 2_000

logger = logging.getLogger(__name__)


class Tail:
    """Keeps `ring` at the end of the log, and calls `on_news` of its listeners, in any thread, after each step.

    The writer of this process hands over each commit. What does not follow on from the ring's end is read from the
    database, as is what other processes write. `ring` is None until the log has been read for the first subscriber. A
    ring of another history replaces it: it has another epoch. With the same epoch, changes were purged unseen.
    """

    def __init__(self, reader: ChangeReader, renew_epoch: Callable[[int], Awaitable[None]], pauses: Pauses) -> None:
        """Must be called on the event loop that runs `follow`. renew_epoch replaces an epoch of the log."""
        self.ring: Ring | None = None
        self.failure: StorageUnavailableError | None = None  # why there is no ring yet
        self._reader = reader
        self._renew_epoch = renew_epoch
        self._pauses = pauses
        self._loop = asyncio.get_running_loop()
        self._called = asyncio.Event()
        self._lock = threading.Lock()  # guards the ring's extension, and the fields below
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._watchers = 0
        self._announced = 0  # the highest revision that a commit of this process had
        self._log = FailureLog(logger, "the feed cannot read the log", "the feed reads the log again")

    @property
    def lag_revisions(self) -> int:
        """How many revisions of this process's own commits are not in the ring yet."""
        ring = self.ring
        return max(self._announced - ring.end, 0) if ring and self._watchers else 0

    def listen(self, on_news: Callable[[], None]) -> None:
        with self._lock:
            self._listeners += (on_news,)

    def forget(self, on_news: Callable[[], None]) -> None:
        with self._lock:
            self._listeners = tuple(listener for listener in self._listeners if listener != on_news)

    def watch(self) -> None:
        """Counts one more subscriber. The first one makes the tail follow the log."""
        with self._lock:
            self._watchers += 1
            is_first = self._watchers == 1
            if is_first:
                self.failure = None
        if is_first:
            self.read_soon()

    def unwatch(self) -> None:
        """Counts one subscriber less. After the last one, nothing is read or encoded."""
        with self._lock:
            self._watchers -= 1
            if not self._watchers:
                self.ring = None

    def read_soon(self) -> None:
        """Reads the log without a further pause."""
        self._loop.call_soon_threadsafe(self._called.set)

    def on_commit(self, commit: Commit) -> None:
        """Takes a commit of this process. Called in the writer's thread."""
        if not self._watchers:
            return
        with self._lock:
            self._announced = max(self._announced, commit.head.last_revision)
            is_extended = self._extend_by(commit)
        if is_extended:
            self._tell()
        else:
            self.read_soon()

    def _extend_by(self, commit: Commit) -> bool:
        """Whether the ring now has the commit."""
        ring, last = self.ring, commit.head.last_revision
        if ring is None or last <= ring.end:
            return ring is not None
        if commit.first_revision > ring.end + 1:
            return False  # another process wrote in between
        self._extend(ring, [change for change in commit.changes if change.revision > ring.end], last)
        return True

    async def follow(self) -> NoReturn:
        """Reads the log again and again while somebody watches."""
        while True:
            await self._wait()
            self._called.clear()
            if self._watchers:
                await self._read_and_report()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._pauses.seconds if self._watchers else None):
                await self._called.wait()
        except TimeoutError:
            pass

    async def _read_and_report(self) -> None:
        try:
            has_news = await self._read()
        except StorageUnavailableError as error:
            self._log.fail(error)
            self.failure = error
            has_news = self.ring is None  # those who wait for the ring must learn of the failure
        else:
            self._log.succeed()
            self.failure = None
        self._pauses.note(found=has_news)
        if has_news:
            self._tell()

    async def _read(self) -> bool:
        """Reads what the ring misses. Returns whether there was anything."""
        ring = self.ring
        if ring is None:
            await self._begin(await self._reader.position())
            return True
        known = ring.end
        while True:
            end = ring.end
            page = await self._reader.changes_after(end, PAGE_CHANGES)
            if page.position.epoch != ring.epoch:
                await self._begin(page.position)
                return True
            if page.position.last_revision < end:  # the database lost commits, by a failover or a restored backup
                logger.error("the log has gone back from revision %d to %d", end, page.position.last_revision)
                await self._renew_epoch(ring.epoch)
                await self._begin(await self._reader.position())
                return True
            if page.position.purged_revision > ring.end:  # another process made these changes, and they were purged
                await self._begin(page.position)
                return True
            self._take(ring, page)
            if len(page.changes) < PAGE_CHANGES:
                return ring.end > known  # a commit that is not in the page has set `_called`

    async def _begin(self, position: LogPosition) -> None:
        """Makes a ring with the newest changes."""
        self._announced = 0  # it may be of a history that is gone
        start = max(position.last_revision - FIRST_CHANGES, position.purged_revision, 0)
        ring = Ring(position.epoch, start)
        while True:
            page = await self._reader.changes_after(ring.end, PAGE_CHANGES)
            if page.position.epoch != ring.epoch or page.position.purged_revision > start:
                await self._begin(page.position)  # changed meanwhile
                return
            self._take(ring, page)
            if len(page.changes) < PAGE_CHANGES:
                break
        with self._lock:
            if self._watchers:
                self.ring = ring
        self._called.set()  # a commit meanwhile went into the ring that this one replaces

    def _take(self, ring: Ring, page: Changes) -> None:
        """Adds a page to a ring, unless commits have led past it meanwhile."""
        with self._lock:
            is_whole = len(page.changes) < PAGE_CHANGES
            end = page.position.last_revision if is_whole else page.changes[-1].revision
            if end > ring.end:
                self._extend(ring, [change for change in page.changes if change.revision > ring.end], end)

    def _extend(self, ring: Ring, changes: Sequence[EventChange], end: int) -> None:
        now = time.monotonic()
        ring.extend([EncodedChange(change, now) for change in changes], end)

    def _tell(self) -> None:
        for on_news in self._listeners:
            on_news()
