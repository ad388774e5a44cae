"""What the client takes and returns. Times are aware datetimes in UTC; those of the service are in whole seconds."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventType(StrEnum):
    """The kind of a status event. The values are the names in the contract."""

    UNKNOWN = "EVENT_TYPE_UNSPECIFIED"  # a kind that this version of the client does not know; never valid to submit
    PAUSE = "PauseMentorEvent"
    RESUME = "ResumeMentorEvent"
    DEACTIVATE = "DeactivateMentorEvent"
    ACTIVATE = "ActivateMentorEvent"


class MentorStatus(StrEnum):
    """Whether a mentor takes part in mentoring. The values are the names in the contract."""

    UNKNOWN = "MENTOR_STATUS_UNSPECIFIED"  # a status that this version of the client does not know
    ACTIVE = "active"
    PAUSED = "paused"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class SyncEvent:
    """A pending event. `resulting_status` is the mentor's status right after the decision on it."""

    sync_event_id: str
    mentor_id: str
    event_type: EventType
    resulting_status: MentorStatus
    server_timestamp: datetime
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class SyncEventPage:
    """One page of the pending events, oldest first. `total` counts the events on all pages."""

    events: tuple[SyncEvent, ...]
    page: int
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class MentorSnapshot:
    """A mentor's status, and the oldest 100 pending events of the mentor, from one consistent read."""

    mentor_id: str
    status: MentorStatus
    is_eligible_for_assignment: bool
    last_updated: datetime
    pending_events: tuple[SyncEvent, ...]


@dataclass(frozen=True, slots=True)
class SubmittedEvent:
    """The outcome of a submit. A stale event, or one that is not allowed, is recorded with `accepted` False."""

    sync_event_id: str
    mentor_id: str
    event_type: EventType
    accepted: bool
    resulting_status: MentorStatus
    server_timestamp: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UpdatedEvent:
    """The values of an event that can be changed. `reason` is empty if there is none."""

    sync_event_id: str
    acknowledged: bool
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeletedEvent:
    """Confirms a deletion. `deleted_at` is the time of the first one."""

    sync_event_id: str
    deleted: bool
    deleted_at: datetime
