"""One stream of the feed, from its beginning to its end."""

import asyncio
import random
from contextlib import aclosing

from mentorsync import time_limits  # read at each use: tests shorten some
from mentorsync.feed.cursor import Cursor
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.ends import End
from mentorsync.feed.formats import Format
from mentorsync.feed.present import PresentState
from mentorsync.feed.request import FeedRequest
from mentorsync.feed.resets import ResetError, ResetReason
from mentorsync.feed.steps import MESSAGE_CHANGES
from mentorsync.feed.subscriber import Send, Subscriber
from mentorsync.feed.subscribers import Subscribers
from mentorsync.feed.tail import PAGE_CHANGES
from mentorsync.storage.change_reader import ChangeReader, LogPosition
from mentorsync.storage.errors import StorageUnavailableError

JITTER = 0.1  # heartbeats of many streams must not come at one moment
EPOCH_TRIES = 30  # with BEHIND_PAUSE_SECONDS between them
BEHIND_PAUSE_SECONDS = 0.1


class Stream:
    """Sends the feed to one receiver. Everything that was sent can be resumed at the last cursor."""

    def __init__(
        self, request: FeedRequest, made: Format, send: Send, reader: ChangeReader, among: Subscribers
    ) -> None:
        self._request = request
        self._format = made
        self._reader = reader
        self._among = among
        self._counts = among.counts
        self.subscriber = Subscriber(request.mentor_ids, made, send)
        self._is_current = False
        self.has_sent = False
        self._ends_at = self._now() + request.seconds
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
        self._heartbeat_seconds = time_limits.HEARTBEAT_SECONDS * jitter

    async def run(self) -> End:
        """Sends until the stream ends. Raises what `send` raises, and asyncio.CancelledError.

        Before the first message it raises StorageUnavailableError, too.
        """
        self._among.add(self.subscriber)
        try:
            return await self._run()
        except StorageUnavailableError:
            if not self.has_sent:
                raise
            await self._send(self._format.going_away())
            return End.STORAGE
        finally:
            self._among.remove(self.subscriber)
            self.subscriber.release()

    async def _run(self) -> End:
        self.subscriber.ring = await self._among.wait_for_ring()
        start = self._begin
        while True:
            try:
                await start()
                return await self._follow()
            except ResetError as reset:
                self._counts.resets[reset.reason] += 1
                self.subscriber.ring = await self._among.wait_for_ring()
                await self._send(self._format.reset(reset.reason))
                start = self._send_present

    async def _begin(self) -> None:
        if self._request.cursor is None:
            await self._send_present()
        else:
            await self._continue_after(self._request.cursor)

    async def _continue_after(self, cursor: Cursor) -> None:
        if cursor.epoch != self.subscriber.ring.epoch:
            await self._wait_for_history(cursor.epoch)
        if cursor.filter_hash != self.subscriber.filter_hash:
            raise ResetError(ResetReason.FILTER_CHANGED)
        if cursor.revision > self._among.end:
            await self._wait_for_log(cursor.revision)
        self._among.place(self.subscriber, cursor.revision)
        self._is_current = False

    async def _wait_for_history(self, epoch: int) -> None:
        """Waits until the ring has the database's history, if that is the cursor's: another server or event loop, which
        learnt of it first, has given the cursor.
        """
        for _ in range(EPOCH_TRIES):
            if (await self._among.read(self._reader.position)).epoch != epoch:
                break
            await self._among.wait_for_news(BEHIND_PAUSE_SECONDS)
            self.subscriber.ring = await self._among.wait_for_ring()
            if self.subscriber.ring.epoch == epoch:
                return
        raise ResetError(ResetReason.FOREIGN)

    async def _wait_for_log(self, revision: int) -> None:
        """Waits until the database has a revision: it may be a replica that is behind."""
        ring = self.subscriber.ring
        position = await self._among.read(self._reader.position)
        if position.epoch == ring.epoch and position.last_revision < revision:
            deadline = self._now() + time_limits.BEHIND_SECONDS
            while self._among.ring is ring and self._among.end < revision and self._now() < deadline:
                await asyncio.sleep(BEHIND_PAUSE_SECONDS)  # the tail reads the log for all who wait
            position = await self._among.read(self._reader.position)
        if position.epoch != ring.epoch or position.last_revision < revision:
            raise ResetError(ResetReason.FOREIGN)

    async def _send_present(self) -> None:
        """Sends the present state and CURRENT, or only CURRENT if the receiver skips the state.

        Waits while the database has another history than the ring. Raises StorageUnavailableError after a few seconds.
        """
        is_begun = self._is_placed_at_end if self._request.changes_only else self._is_state_sent
        for _ in range(EPOCH_TRIES):
            if await is_begun():
                if not self.subscriber.is_leaving:
                    await self._send_current()
                return
            await self._among.wait_for_news(BEHIND_PAUSE_SECONDS)
        raise StorageUnavailableError("the database has another history than the changes in memory")

    async def _is_placed_at_end(self) -> bool:
        end = self._among.end
        position = await self._among.read(self._reader.position)
        if not await self._is_of_ring(position, end):
            return False
        self._among.place(self.subscriber, self._among.end)
        return True

    async def _is_state_sent(self) -> bool:
        """Sends the present state, or its beginning if the stream must leave, and notes where the log stood before."""
        end = self._among.end
        state = PresentState(self._reader, self._among, self._request.mentor_ids, self._format)
        async with aclosing(state.messages()) as messages:
            first = await anext(messages, None)
            if not await self._is_of_ring(state.position, end):
                return False
            self._among.place(self.subscriber, state.position.last_revision)
            if first is not None:
                await self._send(first)
            async for message in messages:
                if self.subscriber.is_leaving:
                    break
                await self._send(message)
            return True

    async def _is_of_ring(self, position: LogPosition, end: int) -> bool:
        """Takes the present ring. Returns whether a position of the database is of the same history.

        `end` is where the ring ended before the position was read. If the position is before it, the database has lost
        changes that the ring still has.
        """
        self.subscriber.ring = await self._among.wait_for_ring()
        return position.epoch == self.subscriber.ring.epoch and position.last_revision >= end

    async def _send_current(self) -> None:
        self._is_current = True
        await self._send(self._format.current(self.subscriber.cursor))

    async def _send_heartbeat(self) -> None:
        await self._send(self._format.heartbeat(self.subscriber.cursor))

    async def _follow(self) -> End:
        """Sends changes as they are made, and heartbeats, until the stream ends."""
        subscriber = self.subscriber
        while True:
            await subscriber.sent()
            if self._among.ring is not subscriber.ring:
                self._change_ring()
            if subscriber.is_leaving or subscriber.is_stalled:
                await self._send(self._format.going_away())
                return End.STALLED if subscriber.is_stalled else End.STOPPING
            if self.has_sent and self._now() >= self._ends_at:  # also if there is more to send: it can be resumed
                await self._send_heartbeat()
                await self._send(self._format.going_away())
                return End.TIME
            step = self._among.next_step(subscriber)
            if step is None:
                await self._catch_up()
                continue
            if step.changes:
                await self._open()
            self._among.take(subscriber, step)
            if step.changes:
                continue  # and wait until they were taken
            if not self._is_current:
                await self._send_current()
            elif self._now() < (due := min(self._heartbeat_at, self._ends_at)):
                subscriber.due = due
                await subscriber.wait()
            else:
                await self._send_heartbeat()

    def _change_ring(self) -> None:
        """Goes on in the ring that replaced the present one. Raises ResetError if it is of another history."""
        ring = self._among.ring
        if ring is None or ring.epoch != self.subscriber.ring.epoch:
            raise ResetError(ResetReason.FOREIGN)
        self.subscriber.ring = ring
        self._among.place(self.subscriber, self.subscriber.position)

    async def _catch_up(self) -> None:
        """Goes on from the database, since the ring no longer has what the receiver misses."""
        with self._counts.catching_up():
            if self._request.mentor_ids and not self._request.changes_only:
                self._check(await self._among.read(self._reader.position))
                await self._send_present()
                return
            position = self.subscriber.position
            page = await self._among.read(self._reader.changes_after, position, PAGE_CHANGES)
            self._check(page.position)
            changes = [EncodedChange(change) for change in page.changes]
            is_whole = len(changes) < PAGE_CHANGES
            wanted = self.subscriber.wanted(changes)
            for first in range(0, len(wanted), MESSAGE_CHANGES):
                part = wanted[first : first + MESSAGE_CHANGES]
                self._among.place(self.subscriber, part[-1].revision)
                await self._send(self._format.changes(part, self.subscriber.cursor))
                self._counts.deliveries += len(part)
            self._among.place(self.subscriber, page.position.last_revision if is_whole else changes[-1].revision)

    def _check(self, position: LogPosition) -> None:
        """Raises ResetError if the database no longer has all changes after the receiver's position."""
        if position.epoch != self.subscriber.ring.epoch or position.last_revision < self.subscriber.position:
            raise ResetError(ResetReason.FOREIGN)
        if position.purged_revision > self.subscriber.position:
            raise ResetError(ResetReason.EXPIRED)

    @property
    def _heartbeat_at(self) -> float:
        return 0.0 if self.subscriber.is_probed else self.subscriber.sent_at + self._heartbeat_seconds

    async def _send(self, message: bytes) -> None:
        """Sends a message, and waits until it was taken."""
        await self._open()
        self._among.send(self.subscriber, message)
        await self.subscriber.sent()

    async def _open(self) -> None:
        """Sends what must come before all messages, if nothing was sent yet."""
        if not self.has_sent:
            self.has_sent = True
            if opening := self._format.opening():
                self.subscriber.send(opening, self._now())
                await self.subscriber.sent()

    def _now(self) -> float:
        return self._among.loop.time()
