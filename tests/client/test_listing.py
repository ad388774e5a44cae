"""Reading a list that changes in the meantime, without a service."""

from hypothesis import given
from hypothesis import strategies as st
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus_client.listing import Listing, page_before
from mentorstatus_client.messages import sync_event_page

MAX_CALLS = 200  # far more than any of these lists needs


def answer(pending: list[int], request: pb.ListSyncEventsRequest) -> pb.ListSyncEventsResponse:
    """The page that the service gives."""
    start = (request.page - 1) * request.limit
    data = [pb.SyncEvent(sync_event_id=str(event)) for event in pending[start : start + request.limit]]
    pagination = pb.Pagination(page=request.page, limit=request.limit, total=len(pending))
    return pb.ListSyncEventsResponse(data=data, pagination=pagination)


def read_all(pending: list[int], changes: list[list[int]]) -> list[int]:
    """Reads the list. Each change is made between two pages: its events stop being pending, or are pending again."""
    listing = Listing(None)
    read: list[int] = []
    for _ in range(MAX_CALLS):
        request = listing.next_call().request
        assert isinstance(request, pb.ListSyncEventsRequest)
        read += [int(event.sync_event_id) for event in listing.take(sync_event_page(answer(pending, request)))]
        if listing.is_complete:
            return read
        pending[:] = sorted(set(pending) ^ set(changes.pop() if changes else []))
    raise AssertionError("the reading does not end")


EVENTS = st.integers(min_value=0, max_value=700)


@given(st.integers(0, 700), st.lists(st.lists(EVENTS, max_size=300), max_size=12))
def test_an_event_that_stays_pending_is_read_once(total: int, changes: list[list[int]]) -> None:
    """Whatever happens to the others. No event is read twice, and the order is that of the list."""
    changing = {event for change in changes for event in change}
    read = read_all(list(range(total)), changes)
    assert len(set(read)) == len(read)
    assert [event for event in read if event not in changing] == [e for e in range(total) if e not in changing]


def test_an_unchanged_list_needs_few_pages() -> None:
    """Each page overlaps with the one before, but only by a few events."""
    position = calls = 0
    while position < 10_000:
        page, limit = page_before(position)
        assert (page - 1) * limit < max(position, 1)
        position = page * limit
        calls += 1
    assert calls <= 120  # with pages of 100 that do not overlap: 100
