"""One stream's place in the feed, and its last message on the way to the receiver."""

import asyncio
from collections.abc import Awaitable, Callable

from mentorsync.feed.cursor import Cursor, filter_hash
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.formats import Format
from mentorsync.feed.ring import Ring

# Hands a message to the transport. Awaiting the answer waits until the transport has taken the message.
Send = Callable[[bytes], Awaitable[None]]


class Subscriber:
    """Everything up to `position` in the history of `ring` was sent.

    `missing_from` is the revision of the first change after it that the receiver wants and that was not sent, or None;
    one that wants everything does without. `due` is when the stream wants to be woken in any case, and `sent_at` when
    the last message was sent, in seconds of the loop's clock.
    """

    __slots__ = (
        "_send",
        "_sending",
        "_waiter",
        "due",
        "filter_hash",
        "is_leaving",
        "is_probed",
        "is_stalled",
        "loop",
        "made",
        "mentor_ids",
        "missing_from",
        "position",
        "ring",
        "sent_at",
    )

    def __init__(self, mentor_ids: frozenset[str], made: Format, send: Send) -> None:
        """Must be called on the event loop of the stream."""
        self.mentor_ids = mentor_ids
        self.filter_hash = filter_hash(mentor_ids)
        self.made = made
        self.loop = asyncio.get_running_loop()
        self.ring: Ring  # known once the log has been read
        self.position = 0
        self.missing_from: int | None = None
        self.due = 0.0
        self.sent_at = 0.0
        self.is_leaving = False
        self.is_probed = False  # a heartbeat is due at once
        self.is_stalled = False
        self._send = send
        self._sending: asyncio.Future[None] | None = None  # the last message: done when the transport has taken it
        self._waiter: asyncio.Future[None] | None = None

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.ring.epoch, self.position, self.filter_hash)

    @property
    def is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    @property
    def has_failed(self) -> bool:
        """Whether the last message could not be sent."""
        return self._sending is not None and self._sending.done() and error_of(self._sending) is not None

    def is_following(self, ring: Ring | None) -> bool:
        """Whether its stream waits, and has nothing else to do than to send the changes of this ring."""
        if self._waiter is None or self.is_leaving or self.is_stalled or self.ring is not ring:
            return False
        return not (self.is_sending or self.has_failed)

    def send(self, message: bytes, now: float) -> None:
        """Begins to send a message. The one before it must have been taken."""
        self.sent_at = now
        self.is_probed = False
        self._sending = asyncio.ensure_future(self._send(message))

    async def sent(self) -> None:
        """Waits until the last message was taken. Raises what kept it from that."""
        if self._sending is not None:
            await self._sending

    async def sent_within(self, seconds: float) -> None:
        """Waits until the last message was taken or has failed, or for so long."""
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=seconds)

    def release(self) -> None:
        """Lets go of the last message. Its error refers to the stream's frames, and so to itself."""
        if self._sending is not None:
            self._sending.add_done_callback(error_of)  # asyncio reports errors that nobody takes
            self._sending = None

    async def wait(self) -> None:
        """Waits until the stream has something to do."""
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """Lets the stream end. If its receiver does not read, it can only end with its connection."""
        self.is_leaving = True
        self.wake()

    def probe_soon(self) -> None:
        """Lets the stream send a heartbeat, which fails if the receiver has gone. May be called in any thread."""
        self.loop.call_soon_threadsafe(self._probe)

    def _probe(self) -> None:
        if not self.is_sending:
            self.is_probed = True
            self.wake()

    def misses_from(self, end: int) -> int | None:
        """The revision of the first change up to `end` that it may miss."""
        if self.mentor_ids:
            return self.missing_from
        return self.position + 1 if self.position < end else None

    def wanted(self, changes: list[EncodedChange]) -> list[EncodedChange]:
        if not self.mentor_ids:
            return changes
        return [change for change in changes if change.mentor_id in self.mentor_ids]


def error_of(done: "asyncio.Future[None]") -> BaseException | None:
    return None if done.cancelled() else done.exception()
