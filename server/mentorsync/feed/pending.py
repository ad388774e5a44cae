"""All pending events, in pages that streams share when they begin together."""

import asyncio
from collections.abc import Sequence

from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.formats import Format
from mentorsync.storage.change_reader import ChangeReader, LogPosition

PAGE_EVENTS = 100  # in one message


class PendingPage:
    """`position` is where the log stood when the page was read."""

    def __init__(self, position: LogPosition, changes: Sequence[EncodedChange]) -> None:
        self.position = position
        self.changes = changes
        self._messages: dict[Format, bytes] = {}

    def message(self, made: Format) -> bytes:
        """Made once, however many streams send it."""
        if made not in self._messages:
            self._messages[made] = made.present(self.changes)
        return self._messages[made]


class PendingPages:
    """Reads and encodes a page once for all who ask for it before its reading begins.

    Who asks later gets a new one: a stream must have everything that was written before it began. Reads wait for one of
    a few `turns`, and the more streams begin at once, the more of them share a page.
    """

    def __init__(self, reader: ChangeReader, turns: asyncio.Semaphore) -> None:
        self._reader = reader
        self._turns = turns
        self._waiting: dict[int, asyncio.Task[PendingPage]] = {}

    async def after(self, sequence: int) -> PendingPage:
        """The first pending events with a higher sequence, oldest first."""
        page = self._waiting.get(sequence)
        if page is None:
            page = self._waiting[sequence] = asyncio.create_task(self._read(sequence))
        return await asyncio.shield(page)  # one stream may end while others wait

    async def _read(self, sequence: int) -> PendingPage:
        async with self._turns:
            del self._waiting[sequence]
            position, changes = await self._reader.pending_after(sequence, PAGE_EVENTS)
        return PendingPage(position, [EncodedChange(change) for change in changes])
