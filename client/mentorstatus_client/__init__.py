"""Clients of the service over gRPC: MentorStatusSyncClient for threads, AsyncMentorStatusSyncClient for asyncio."""

from mentorstatus_client.asynchronous import AsyncMentorStatusSyncClient
from mentorstatus_client.base import CallOptions
from mentorstatus_client.errors import (
    DeadlineExceededError,
    EventNotFoundError,
    FieldViolation,
    IdempotencyKeyReusedError,
    InternalError,
    InvalidArgumentError,
    InvalidFieldError,
    MentorNotFoundError,
    MentorStatusSyncError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StorageUnavailableError,
    UnauthenticatedError,
    UnavailableError,
)
from mentorstatus_client.plain import MentorStatusSyncClient
from mentorstatus_client.values import (
    DeletedEvent,
    EventType,
    MentorSnapshot,
    MentorStatus,
    SubmittedEvent,
    SyncEvent,
    SyncEventPage,
    UpdatedEvent,
)

__all__ = [
    "AsyncMentorStatusSyncClient",
    "CallOptions",
    "DeadlineExceededError",
    "DeletedEvent",
    "EventNotFoundError",
    "EventType",
    "FieldViolation",
    "IdempotencyKeyReusedError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidFieldError",
    "MentorNotFoundError",
    "MentorSnapshot",
    "MentorStatus",
    "MentorStatusSyncClient",
    "MentorStatusSyncError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "StorageUnavailableError",
    "SubmittedEvent",
    "SyncEvent",
    "SyncEventPage",
    "UnauthenticatedError",
    "UnavailableError",
    "UpdatedEvent",
]
