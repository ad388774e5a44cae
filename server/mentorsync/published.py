"""What lists, snapshots and the live feed publish in common.

Pending events are encoded without building a message for each, which would take twice as long. A response merges the
encoded events, so protobuf itself checks them and encodes the answer.
See https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Sequence
from functools import lru_cache

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.storage.reader import PublishedEvent, Snapshot

LENGTH_DELIMITED = 2  # the wire type of strings and messages
GROUP_BITS = 7  # a varint has 7 bits of its number in each byte
GROUP_VALUES = 1 << GROUP_BITS
CONTINUED = [chr(GROUP_VALUES | group) for group in range(GROUP_VALUES)]  # the bytes of a varint but the last one
FIXED_BYTES = 11  # an event without its two ids and the varint of its seconds: tags, lengths and enum values


def published_seconds(microseconds: int) -> int:
    """A stored time as the contract shows it: in whole seconds."""
    return microseconds // 1_000_000


def snapshot_message(snapshot: Snapshot) -> pb.GetMentorStatusResponse:
    message = pb.GetMentorStatusResponse(
        mentor_id=snapshot.mentor_id,
        status=snapshot.status,  # type: ignore[arg-type]  # the domain's numbers are the protobuf enum's
        is_eligible_for_assignment=snapshot.status.is_eligible_for_assignment,
    )
    message.last_updated.seconds = published_seconds(snapshot.last_updated)
    message.MergeFromString(encoded_events(message.PENDING_EVENTS_FIELD_NUMBER, snapshot.pending_events))
    return message


def encoded_events(field_number: int, events: Sequence[PublishedEvent]) -> bytes:
    """The events as the values of a repeated field. Each takes fewer than 128 bytes, so its length is one byte.

    The text below has one character for each byte. All ids are ASCII.
    """
    tag = chr(field_number << 3 | LENGTH_DELIMITED)
    parts = []
    for sync_event_id, mentor_id, event_type, resulting_status, server_timestamp in events:
        seconds = server_timestamp // 1_000_000
        varint = f"{CONTINUED[seconds & 127]}{CONTINUED[seconds >> 7 & 127]}{_varint(seconds >> 14)}"
        parts.append(
            f"{tag}{chr(FIXED_BYTES + len(sync_event_id) + len(mentor_id) + len(varint))}"
            f"\n{chr(len(sync_event_id))}{sync_event_id}"  # field 1
            f"\x12{chr(len(mentor_id))}{mentor_id}"  # field 2
            f"\x18{chr(event_type)}\x20{chr(resulting_status)}"  # fields 3 and 4
            f"\x2a{chr(len(varint) + 1)}\x08{varint}"  # field 5: a Timestamp, with its field 1
        )
    return "".join(parts).encode("latin-1")


@lru_cache(maxsize=256)  # of seconds >> 14: events of the same 4.5 hours share a value
def _varint(value: int) -> str:
    if value < GROUP_VALUES:
        return chr(value)
    return CONTINUED[value % GROUP_VALUES] + _varint(value >> GROUP_BITS)
