"""Events that are encoded by hand are the ones that protobuf encodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.published import encoded_events, encoded_page, encoded_snapshot
from mentorsync.storage.reader import Page, PublishedEvent, Snapshot

LAST_MICROSECOND = 253_402_300_800 * 1_000_000 - 1  # of the year 9999
EVENTS = st.lists(
    st.builds(
        PublishedEvent,
        st.from_regex(r"evt_[0-9A-Za-z]{1,40}", fullmatch=True),
        st.from_regex(r"mntr_[0-9A-Za-z]{1,40}", fullmatch=True),
        st.sampled_from(EventType),
        st.sampled_from(MentorStatus),
        st.integers(1_000_000, LAST_MICROSECOND),  # protobuf leaves out 0 seconds
    ),
    max_size=5,
)
LONGEST = PublishedEvent(
    "evt_" + "Z" * 40, "mntr_" + "z" * 40, EventType.ACTIVATE, MentorStatus.INACTIVE, LAST_MICROSECOND
)


def message(event: PublishedEvent) -> pb.SyncEvent:
    message = pb.SyncEvent(
        sync_event_id=event.sync_event_id,
        mentor_id=event.mentor_id,
        event_type=pb.EventType.ValueType(event.event_type),
        resulting_status=pb.MentorStatus.ValueType(event.resulting_status),
    )
    message.server_timestamp.seconds = event.server_timestamp // 1_000_000
    return message


@given(EVENTS)
def test_a_page_has_the_bytes_of_protobuf(events: list[PublishedEvent]) -> None:
    """Nobody can tell that its events were encoded by hand."""
    expected = pb.ListSyncEventsResponse(
        data=map(message, events), pagination=pb.Pagination(page=2, limit=50, total=1_000)
    )
    assert encoded_page(2, 50, Page(events, 1_000)) == expected.SerializeToString()


@given(EVENTS)
def test_a_snapshot_has_the_bytes_of_protobuf(events: list[PublishedEvent]) -> None:
    """Also without an event."""
    expected = pb.GetMentorStatusResponse(
        mentor_id="mntr_1", status=pb.active, is_eligible_for_assignment=True, pending_events=map(message, events)
    )
    expected.last_updated.seconds = 1_774_516_440
    snapshot = Snapshot("mntr_1", MentorStatus.ACTIVE, 1_774_516_440_999_999, events)
    assert encoded_snapshot(snapshot) == expected.SerializeToString()


@pytest.mark.parametrize("seconds", [0, 1, 127, 128, 16_383, 16_384, 2**31, 2**35])
def test_every_length_of_a_varint(seconds: int) -> None:
    """The number of bytes of a timestamp changes at the powers of 128."""
    event = LONGEST._replace(server_timestamp=seconds * 1_000_000)
    page = pb.ListSyncEventsResponse.FromString(encoded_events(1, [event]))
    assert page == pb.ListSyncEventsResponse(data=[message(event)])
