"""Reads a whole list by pages, although the list changes in the meantime."""

from mentorstatus_client import calls
from mentorstatus_client.calls import Call
from mentorstatus_client.values import SyncEvent, SyncEventPage

PAGE_SIZES = range(51, 101)  # the service's largest page has 100 events


class Listing:
    """Gives each event that stays pending once, oldest first.

    When an event is acknowledged or deleted, those behind it move forward, and the first event of the next page moves
    to a page that was read before. Therefore each page is chosen to begin with an event that was read before. If its
    first event is a new one all the same, others may be missing before it, and an earlier page is read again.
    """

    def __init__(self, mentor_id: str | None) -> None:
        self.is_complete = False
        self._mentor_id = mentor_id
        self._position = 0  # the number of events at the beginning of the list that were read
        self._seen: set[str] = set()

    def next_call(self) -> Call[SyncEventPage]:
        page, limit = page_before(self._position)
        return calls.list_sync_events(page, limit, self._mentor_id)

    def take(self, page: SyncEventPage) -> list[SyncEvent]:
        """The page's events that are new and follow without a gap."""
        start = (page.page - 1) * page.limit
        if start and not (page.events and page.events[0].sync_event_id in self._seen):
            self._position = max(0, min(start - page.limit, page.total))
            return []
        new = [event for event in page.events if event.sync_event_id not in self._seen]
        self._seen.update(event.sync_event_id for event in new)
        self._position = start + len(page.events)
        self.is_complete = self._position >= page.total
        return new


def page_before(position: int) -> tuple[int, int]:
    """The page, and its size, that begins before a position and ends as far behind it as possible."""
    pages = [(max(0, position - 1) // limit + 1, limit) for limit in PAGE_SIZES]
    return max(pages, key=lambda page: page[0] * page[1])
