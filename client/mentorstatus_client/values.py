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


class FeedKind(StrEnum):
    """What a message of the feed says. The values are the names in the proto, which explains them."""

    UNKNOWN = "KIND_UNSPECIFIED"
    RESET = "RESET"  # drop all state: the present state follows
    SNAPSHOT = "SNAPSHOT"  # the present state of one mentor, in `snapshot`
    PRESENT = "PRESENT"  # pending events of the present state, in `changes`
    CURRENT = "CURRENT"  # everything up to `cursor` was sent
    CHANGES = "CHANGES"  # new states of events, in `changes`
    HEARTBEAT = "HEARTBEAT"  # nothing has changed; `cursor` may be newer
    GOING_AWAY = "GOING_AWAY"  # the server ends the stream


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


@dataclass(frozen=True, slots=True)
class SyncEventChange:
    """An event as its last change left it. `mentor_status` is the mentor's status at this change or later."""

    event: SyncEvent
    accepted: bool
    pending: bool
    deleted: bool
    mentor_status: MentorStatus
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One step of the feed. The kind says which of the other fields are set.

    reset_reason: EXPIRED, FOREIGN or FILTER_CHANGED. Empty if a connection was lost within the present state.
    """

    kind: FeedKind
    changes: tuple[SyncEventChange, ...] = ()
    cursor: str = ""
    reset_reason: str = ""
    snapshot: MentorSnapshot | None = None
