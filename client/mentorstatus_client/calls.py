"""The calls as values: what each one sends and how its answer is read. Both clients send them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import uuid4

from google.protobuf.message import Message
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorstatus_client import messages
from mentorstatus_client.values import (
    DeletedEvent,
    EventType,
    MentorSnapshot,
    SubmittedEvent,
    SyncEventPage,
    UpdatedEvent,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One call of the service. `read` converts the message of its answer."""

    method: str
    request: Message
    read: Callable[[Any], Result]
    idempotency_key: str | None = None


def list_sync_events(page: int | None, limit: int | None, mentor_id: str | None) -> Call[SyncEventPage]:
    request = pb.ListSyncEventsRequest(page=page, limit=limit, mentor_id=mentor_id)
    return Call("ListSyncEvents", request, messages.sync_event_page)


def get_mentor_status(mentor_id: str) -> Call[MentorSnapshot]:
    return Call("GetMentorStatus", pb.GetMentorStatusRequest(mentor_id=mentor_id), messages.mentor_snapshot)


def submit_event(
    mentor_id: str,
    event_type: EventType,
    reason: str | None,
    client_timestamp: datetime | None,
    idempotency_key: str | None,
) -> Call[SubmittedEvent]:
    """Always has a key: the transport may repeat the call, and the event must not be recorded twice."""
    request = pb.SubmitEventRequest(
        mentor_id=mentor_id,
        event_type=pb.EventType.Value(EventType(event_type)),
        reason=reason,
        client_timestamp=messages.timestamp_of(client_timestamp),
    )
    key = str(uuid4()) if idempotency_key is None else idempotency_key
    return Call("SubmitEvent", request, messages.submitted_event, key)


def update_event(sync_event_id: str, acknowledged: bool | None, reason: str | None) -> Call[UpdatedEvent]:
    request = pb.UpdateEventRequest(sync_event_id=sync_event_id, acknowledged=acknowledged, reason=reason)
    return Call("UpdateEvent", request, messages.updated_event)


def delete_event(sync_event_id: str) -> Call[DeletedEvent]:
    return Call("DeleteEvent", pb.DeleteEventRequest(sync_event_id=sync_event_id), messages.deleted_event)
