"""The present state, with which a stream begins."""

from collections.abc import AsyncGenerator, AsyncIterator

from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.formats import Format
from mentorsync.feed.pending import PAGE_EVENTS
from mentorsync.feed.subscribers import Subscribers
from mentorsync.storage.change_reader import ChangeReader, LogPosition
from mentorsync.storage.statements import SNAPSHOT_EVENTS


class PresentState:
    """`position` is where the log stood when its reading began. What changes while it is read and sent has a higher
    revision, and so is sent again after it.
    """

    def __init__(self, reader: ChangeReader, among: Subscribers, mentor_ids: frozenset[str], made: Format) -> None:
        self._reader = reader
        self._among = among
        self._mentor_ids = mentor_ids
        self._format = made
        self.position = LogPosition(0, 0, 0)

    def messages(self) -> AsyncGenerator[bytes]:
        """`position` is known once the first of them is, or the end."""
        return self._of_mentors() if self._mentor_ids else self._of_everything()

    async def _of_everything(self) -> AsyncGenerator[bytes]:
        page = await self._among.pages.after(0)
        self.position = page.position
        while page.changes:
            yield page.message(self._format)
            if len(page.changes) < PAGE_EVENTS:
                return
            page = await self._among.pages.after(page.changes[-1].change.sequence)

    async def _of_mentors(self) -> AsyncGenerator[bytes]:
        self.position, snapshots = await self._among.read(self._reader.snapshots, sorted(self._mentor_ids))
        for snapshot in snapshots:
            yield self._format.snapshot(snapshot)
            if len(snapshot.pending_events) >= SNAPSHOT_EVENTS:  # it may lack some
                known = {sync_event_id for sync_event_id, *_ in snapshot.pending_events}
                async for changes in self._pending(snapshot.mentor_id):
                    if further := [change for change in changes if change.change.sync_event_id not in known]:
                        yield self._format.present(further)

    async def _pending(self, mentor_id: str) -> AsyncIterator[list[EncodedChange]]:
        """All pending events of a mentor, in pages, each with at least one."""
        sequence = 0
        while True:
            _, changes = await self._among.read(self._reader.pending_after, sequence, PAGE_EVENTS, mentor_id)
            if changes:
                yield [EncodedChange(change) for change in changes]
                sequence = changes[-1].sequence
            if len(changes) < PAGE_EVENTS:
                return
