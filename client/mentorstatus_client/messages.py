"""Converts between protobuf messages and the client's values."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorstatus_client.values import (
    DeletedEvent,
    EventType,
    FeedKind,
    FeedMessage,
    MentorSnapshot,
    MentorStatus,
    SubmittedEvent,
    SyncEvent,
    SyncEventChange,
    SyncEventPage,
    UpdatedEvent,
)

EVENT_TYPES: dict[int, EventType] = {pb.EventType.Value(event_type): event_type for event_type in EventType}
STATUSES: dict[int, MentorStatus] = {pb.MentorStatus.Value(status): status for status in MentorStatus}

KINDS: dict[int, FeedKind] = {pb.WatchSyncEventsResponse.Kind.Value(kind): kind for kind in FeedKind}
RESET_REASONS: dict[int, str] = {
    number: name for name, number in pb.WatchSyncEventsResponse.ResetReason.items() if number
}


def event_type_of(number: int) -> EventType:
    return EVENT_TYPES.get(number, EventType.UNKNOWN)


def status_of(number: int) -> MentorStatus:
    return STATUSES.get(number, MentorStatus.UNKNOWN)


def time_of(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def timestamp_of(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    if time.utcoffset() is None:
        raise ValueError("client_timestamp must have a time zone, as in datetime.now(UTC)")
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def sync_event(message: pb.SyncEvent) -> SyncEvent:
    return SyncEvent(
        message.sync_event_id,
        message.mentor_id,
        event_type_of(message.event_type),
        status_of(message.resulting_status),
        time_of(message.server_timestamp),
        message.acknowledged,
    )


def sync_event_page(message: pb.ListSyncEventsResponse) -> SyncEventPage:
    pagination = message.pagination
    events = tuple(map(sync_event, message.data))
    return SyncEventPage(events, pagination.page, pagination.limit, pagination.total)


def mentor_snapshot(message: pb.GetMentorStatusResponse) -> MentorSnapshot:
    return MentorSnapshot(
        message.mentor_id,
        status_of(message.status),
        message.is_eligible_for_assignment,
        time_of(message.last_updated),
        tuple(map(sync_event, message.pending_events)),
    )


def submitted_event(message: pb.SubmitEventResponse) -> SubmittedEvent:
    return SubmittedEvent(
        message.sync_event_id,
        message.mentor_id,
        event_type_of(message.event_type),
        message.accepted,
        status_of(message.resulting_status),
        time_of(message.server_timestamp),
        time_of(message.created_at),
    )


def updated_event(message: pb.UpdateEventResponse) -> UpdatedEvent:
    return UpdatedEvent(message.sync_event_id, message.acknowledged, message.reason, time_of(message.updated_at))


def deleted_event(message: pb.DeleteEventResponse) -> DeletedEvent:
    return DeletedEvent(message.sync_event_id, message.deleted, time_of(message.deleted_at))


def sync_event_change(message: pb.SyncEventChange) -> SyncEventChange:
    return SyncEventChange(
        sync_event(message.event),
        message.accepted,
        message.pending,
        message.deleted,
        status_of(message.mentor_status),
        time_of(message.changed_at),
    )


def feed_message(message: pb.WatchSyncEventsResponse) -> FeedMessage:
    return FeedMessage(
        KINDS.get(message.kind, FeedKind.UNKNOWN),
        tuple(map(sync_event_change, message.changes)),
        message.cursor,
        RESET_REASONS.get(message.reset_reason, ""),
        mentor_snapshot(message.snapshot) if message.HasField("snapshot") else None,
    )
