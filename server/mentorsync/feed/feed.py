"""The feed of one process, for any number of event loops."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

from mentorsync.feed.ends import End
from mentorsync.feed.formats import Format
from mentorsync.feed.pauses import Pauses
from mentorsync.feed.request import FeedRequest
from mentorsync.feed.slots import Slots
from mentorsync.feed.stream import Stream
from mentorsync.feed.subscriber import Send
from mentorsync.feed.subscribers import Subscribers
from mentorsync.feed.tail import Tail
from mentorsync.storage.change_reader import ChangeReader
from mentorsync.storage.store import Commit

ROOM_PAUSE_SECONDS = 0.02  # while a new stream waits for a slot

logger = logging.getLogger(__name__)


class Feed:
    """One tail of the log, and the subscribers of each event loop that has streams.

    Must be made on the event loop that runs `follow`. `observe` gets the seconds from when the process learnt of a
    change until the subscribers of a loop had it handed to their transports.
    """

    def __init__(
        self,
        reader: ChangeReader,
        renew_epoch: Callable[[int], Awaitable[None]],
        pauses: Pauses,
        slots: Slots,
        observe: Callable[[float], None],
    ) -> None:
        self.slots = slots
        self.tail = Tail(reader, renew_epoch, pauses)
        self._reader = reader
        self._observe = observe
        self._lock = threading.Lock()
        self._subscribers: dict[asyncio.AbstractEventLoop, Subscribers] = {}
        self._is_stopping = False

    @property
    def subscribers(self) -> tuple[Subscribers, ...]:
        return tuple(self._subscribers.values())

    def on_commit(self, commit: Commit) -> None:
        self.tail.on_commit(commit)

    async def follow(self) -> NoReturn:
        await self.tail.follow()

    async def stream(self, request: FeedRequest, made: Format, client_address: str, send: Send) -> End:
        """Sends the feed until the stream ends. An exception of `send` that is an OSError means that the client left.

        Before the first message raises TooManyStreamsError and StorageUnavailableError.
        """
        while self.slots.is_probing(client_address):
            await asyncio.sleep(ROOM_PAUSE_SECONDS)
        among = self._subscribers_here()  # before the check: `go_away` tells those whose loop it knows
        if self._is_stopping:  # 200 and an event: a browser would not come back after an error
            return await _refuse(made, send)
        stream = Stream(request, made, send, self._reader, among)
        with self.slots.one(client_address, stream.subscriber):
            try:
                end = await stream.run()
            except OSError:
                end = End.DISCONNECTED
            except asyncio.CancelledError:
                among.counts.ends[End.STALLED if stream.subscriber.is_stalled else End.DISCONNECTED] += 1
                raise
            among.counts.ends[end] += 1
            return end

    def go_away(self, seconds: float) -> None:
        """Ends all streams, spread over a time, and each new one at once. May be called in any thread."""
        with self._lock:
            self._is_stopping = True
            subscribers = self.subscribers
        if streams := self.slots.used:
            logger.info("ending %d streams of the live feed", streams)
        for some in subscribers:
            with suppress(RuntimeError):  # the loop has been closed, and its streams with it
                some.loop.call_soon_threadsafe(some.go_away, seconds)

    def _subscribers_here(self) -> Subscribers:
        """Those of the running event loop."""
        loop = asyncio.get_running_loop()
        some = self._subscribers.get(loop)
        if some is None:
            with self._lock:
                some = self._subscribers[loop] = Subscribers(self.tail, self._reader, self._observe)
        return some


async def _refuse(made: Format, send: Send) -> End:
    for message in (made.opening(), made.going_away()):
        if message is not None:
            await send(message)
    return End.STOPPING
