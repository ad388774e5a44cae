"""The present state, with which a stream begins."""

from collections.abc import AsyncGenerator, AsyncIterator

from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.formats import Format
from mentorsync.storage.change_reader import ChangeReader, LogPosition

PRESENT_EVENTS = 100  # in one message
SNAPSHOT_EVENTS = 100  # a snapshot with so many pending events may lack some


class PresentState:
    """`position` is where the log stood when its reading began. What changes while it is read and sent has a higher
    revision, and so is sent again after it.
    """

    def __init__(self, reader: ChangeReader, mentor_ids: frozenset[str], made: Format) -> None:
        self._reader = reader
        self._mentor_ids = mentor_ids
        self._format = made
        self.position = LogPosition(0, 0, 0)

    async def messages(self) -> AsyncGenerator[bytes]:
        """`position` is known once the first of them is, or the end."""
        if not self._mentor_ids:
            async for changes in self._pending(None):
                yield self._format.present(changes)
            return
        self.position, snapshots = await self._reader.snapshots(sorted(self._mentor_ids))
        for snapshot in snapshots:
            yield self._format.snapshot(snapshot)
            if len(snapshot.pending_events) >= SNAPSHOT_EVENTS:
                known = {event.sync_event_id for event in snapshot.pending_events}
                async for changes in self._pending(snapshot.mentor_id):
                    if further := [change for change in changes if change.change.sync_event_id not in known]:
                        yield self._format.present(further)

    async def _pending(self, mentor_id: str | None) -> AsyncIterator[list[EncodedChange]]:
        """All pending events, in pages, each with at least one."""
        sequence = 0
        while True:
            position, changes = await self._reader.pending_after(sequence, PRESENT_EVENTS, mentor_id)
            if mentor_id is None and not sequence:
                self.position = position
            if changes:
                yield [EncodedChange(change) for change in changes]
                sequence = changes[-1].sequence
            if len(changes) < PRESENT_EVENTS:
                return
