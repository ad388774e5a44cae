"""Events that are encoded by hand are the ones that protobuf encodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.published import encoded_events
from mentorsync.storage.reader import PublishedEvent

LAST_MICROSECOND = 253_402_300_800 * 1_000_000 - 1  # of the year 9999
EVENTS = st.lists(
    st.builds(
        PublishedEvent,
        st.from_regex(r"evt_[0-9A-Za-z]{1,40}", fullmatch=True),
        st.from_regex(r"mntr_[0-9A-Za-z]{1,40}", fullmatch=True),
        st.sampled_from(EventType),
        st.sampled_from(MentorStatus),
        st.integers(0, LAST_MICROSECOND),
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
    """In the field of a list, and in that of a snapshot."""
    page, snapshot = pb.ListSyncEventsResponse(), pb.GetMentorStatusResponse(mentor_id="mntr_1")
    page.MergeFromString(encoded_events(page.DATA_FIELD_NUMBER, events))
    snapshot.MergeFromString(encoded_events(snapshot.PENDING_EVENTS_FIELD_NUMBER, events))
    messages = [message(event) for event in events]
    assert page.SerializeToString() == pb.ListSyncEventsResponse(data=messages).SerializeToString()
    expected = pb.GetMentorStatusResponse(mentor_id="mntr_1", pending_events=messages)
    assert snapshot.SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize("seconds", [0, 1, 127, 128, 16_383, 16_384, 2**31, 2**35])
def test_every_length_of_a_varint(seconds: int) -> None:
    """The number of bytes of a timestamp changes at the powers of 128."""
    event = LONGEST._replace(server_timestamp=seconds * 1_000_000)
    page = pb.ListSyncEventsResponse.FromString(encoded_events(1, [event]))
    assert page == pb.ListSyncEventsResponse(data=[message(event)])
