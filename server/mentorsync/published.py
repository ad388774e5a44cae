"""What lists, snapshots and the live feed publish in common.

Answers with pending events are put together from encoded parts: messages would take three times as long.
See https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Sequence
from functools import lru_cache

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.storage.reader import EventRow, Page, Snapshot

LENGTH_DELIMITED = 2  # the wire type of strings and messages
GROUP_BITS = 7  # a varint has 7 bits of its number in each byte
GROUP_VALUES = 1 << GROUP_BITS
BYTES = [chr(value) for value in range(256)]  # each as the character that stands for it below
ID_FIELDS_BYTES = 4  # the tags and lengths of an event's two ids


def published_seconds(microseconds: int) -> int:
    """A stored time as the contract shows it: in whole seconds."""
    return microseconds // 1_000_000


def encoded_page(page: int, limit: int, result: Page) -> bytes:
    """The ListSyncEventsResponse for a page that was asked for by these numbers."""
    end = pb.ListSyncEventsResponse(pagination=pb.Pagination(page=page, limit=limit, total=result.total))
    return encoded_events(pb.ListSyncEventsResponse.DATA_FIELD_NUMBER, result.events) + end.SerializeToString()


def encoded_snapshot(snapshot: Snapshot) -> bytes:
    """The GetMentorStatusResponse."""
    start = pb.GetMentorStatusResponse(
        mentor_id=snapshot.mentor_id,
        status=snapshot.status,  # type: ignore[arg-type]  # the domain's numbers are the protobuf enum's
        is_eligible_for_assignment=snapshot.status.is_eligible_for_assignment,
    )
    start.last_updated.seconds = published_seconds(snapshot.last_updated)
    return start.SerializeToString() + encoded_events(start.PENDING_EVENTS_FIELD_NUMBER, snapshot.pending_events)


def encoded_events(field_number: int, events: Sequence[EventRow]) -> bytes:
    """The events as the values of a repeated field. Each takes fewer than 128 bytes, so its length is one byte.

    The text below has one character for each byte. All ids are ASCII.
    """
    tag = BYTES[field_number << 3 | LENGTH_DELIMITED]
    parts = []
    for sync_event_id, mentor_id, event_type, resulting_status, server_timestamp in events:
        rest = _encoded_rest(event_type, resulting_status, server_timestamp // 1_000_000)
        parts.append(
            f"{tag}{BYTES[ID_FIELDS_BYTES + len(sync_event_id) + len(mentor_id) + len(rest)]}"
            f"\n{BYTES[len(sync_event_id)]}{sync_event_id}"  # field 1
            f"\x12{BYTES[len(mentor_id)]}{mentor_id}{rest}"  # field 2
        )
    return "".join(parts).encode("latin-1")


@lru_cache(maxsize=4096)  # the same events are read again and again, and many have their time in common
def _encoded_rest(event_type: int, resulting_status: int, seconds: int) -> str:
    """The fields of an event from the third on."""
    varint = _varint(seconds)
    return (
        f"\x18{BYTES[event_type]}\x20{BYTES[resulting_status]}"  # fields 3 and 4
        f"\x2a{BYTES[len(varint) + 1]}\x08{varint}"  # field 5: a Timestamp, with its field 1
    )


def _varint(value: int) -> str:
    if value < GROUP_VALUES:
        return BYTES[value]
    return BYTES[GROUP_VALUES | value % GROUP_VALUES] + _varint(value >> GROUP_BITS)
