"""A change of an event in the two formats of the feed, encoded once however many receive it."""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.published import published_seconds
from mentorsync.storage.change_reader import EventChange
from mentorsync.storage.reader import PublishedEvent, Snapshot

# As the gateway's transcoder prints JSON. `json.dumps` would make such an encoder for each value.
compact_json = json.JSONEncoder(separators=(",", ":")).encode
TYPE_NAMES = {event_type: pb.EventType.Name(event_type) for event_type in EventType}  # type: ignore[arg-type]  # the domain's numbers are the protobuf enum's
STATUS_NAMES = {status: pb.MentorStatus.Name(status) for status in MentorStatus}  # type: ignore[arg-type]  # as above
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
KEPT_TIMES = 4_096  # changes of one time share its text


class EncodedChange:
    """A change with its encodings, each made when it is first needed. Two threads may make the same one."""

    __slots__ = ("_json", "_message", "change", "mentor_id", "revision", "seen")

    def __init__(self, change: EventChange, seen: float = 0.0) -> None:
        """seen: when the process learnt of the change, in seconds of time.monotonic()."""
        self.change = change
        self.revision = change.revision
        self.mentor_id = change.mentor_id
        self.seen = seen
        self._message: bytes | None = None
        self._json: str | None = None

    @property
    def message(self) -> bytes:
        """A WatchSyncEventsResponse that has only this change. Encoded messages can be joined to one."""
        if self._message is None:
            self._message = pb.WatchSyncEventsResponse(changes=[change_message(self.change)]).SerializeToString()
        return self._message

    @property
    def json(self) -> str:
        if self._json is None:
            self._json = compact_json(change_fields(self.change))
        return self._json


def change_message(change: EventChange) -> pb.SyncEventChange:
    message = pb.SyncEventChange(
        event=event_message(change),
        accepted=change.accepted,
        pending=change.pending,
        deleted=change.deleted,
        mentor_status=change.mentor_status,  # type: ignore[arg-type]  # as above
    )
    message.changed_at.seconds = published_seconds(change.changed_at)
    return message


def event_message(event: EventChange) -> pb.SyncEvent:
    message = pb.SyncEvent(
        sync_event_id=event.sync_event_id,
        mentor_id=event.mentor_id,
        event_type=event.event_type,  # type: ignore[arg-type]  # as above
        resulting_status=event.resulting_status,  # type: ignore[arg-type]  # as above
        acknowledged=event.acknowledged,
    )
    message.server_timestamp.seconds = published_seconds(event.server_timestamp)
    return message


def change_fields(change: EventChange) -> dict[str, Any]:
    """A SyncEventChange as JSON has it. The order of the keys is that of the proto."""
    return {
        "event": event_fields(change),
        "accepted": change.accepted,
        "pending": change.pending,
        "deleted": change.deleted,
        "mentor_status": STATUS_NAMES[change.mentor_status],
        "changed_at": published_text(change.changed_at),
    }


def snapshot_fields(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "mentor_id": snapshot.mentor_id,
        "status": STATUS_NAMES[snapshot.status],
        "is_eligible_for_assignment": snapshot.status.is_eligible_for_assignment,
        "last_updated": published_text(snapshot.last_updated),
        "pending_events": [event_fields(PublishedEvent._make(row)) for row in snapshot.pending_events],
    }


def event_fields(event: PublishedEvent | EventChange) -> dict[str, Any]:
    return {
        "sync_event_id": event.sync_event_id,
        "mentor_id": event.mentor_id,
        "event_type": TYPE_NAMES[EventType(event.event_type)],
        "resulting_status": STATUS_NAMES[MentorStatus(event.resulting_status)],
        "server_timestamp": published_text(event.server_timestamp),
        "acknowledged": isinstance(event, EventChange) and event.acknowledged,  # a PublishedEvent is pending
    }


def published_text(microseconds: int) -> str:
    """A stored time in RFC 3339, as protobuf's JSON has it."""
    return _text(published_seconds(microseconds))


@lru_cache(KEPT_TIMES)
def _text(seconds: int) -> str:
    return f"{FIRST_MOMENT + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
