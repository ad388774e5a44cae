"""The contract's JSON messages as pydantic models, with the keys in the contract's order."""

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Self

from mentorsync.domain.records import SyncEvent as Record
from mentorsync.domain.status import EventType as Type
from mentorsync.domain.status import MentorStatus as Status
from mentorsync.rpc.validation import MAX_REASON_CHARACTERS
from mentorsync.storage.reader import EventRow, Page, Snapshot
from pydantic import AwareDatetime, BaseModel, Field

MentorId = Annotated[str, Field(pattern=r"^mntr_[0-9A-Za-z]{1,40}$")]
SyncEventId = Annotated[str, Field(pattern=r"^evt_[0-9A-Za-z]{1,40}$")]
Reason = Annotated[str, Field(max_length=MAX_REASON_CHARACTERS, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]


class EventType(Enum):
    PAUSE = "PauseMentorEvent"
    RESUME = "ResumeMentorEvent"
    DEACTIVATE = "DeactivateMentorEvent"
    ACTIVATE = "ActivateMentorEvent"


class MentorStatus(Enum):
    ACTIVE = "active"
    PAUSED = "paused"
    INACTIVE = "inactive"


EVENT_TYPES = {kind: EventType[kind.name] for kind in Type}
DOMAIN_EVENT_TYPES = {EventType[kind.name]: kind for kind in Type}
STATUSES = {status: MentorStatus[status.name] for status in Status}


class SubmitRequest(BaseModel):
    event_type: EventType
    mentor_id: MentorId
    reason: Reason = ""
    client_timestamp: AwareDatetime | None = None


class UpdateRequest(BaseModel):
    acknowledged: bool | None = None
    reason: Reason | None = None


class SubmitResponse(BaseModel):
    sync_event_id: str
    mentor_id: str
    event_type: EventType
    accepted: bool
    resulting_status: MentorStatus
    server_timestamp: datetime
    created_at: datetime

    @classmethod
    def of(cls, event: Record) -> Self:
        decided_at = published_time(event.server_timestamp)
        return cls(
            sync_event_id=event.sync_event_id,
            mentor_id=event.mentor_id,
            event_type=EVENT_TYPES[event.event_type],
            accepted=event.accepted,
            resulting_status=STATUSES[event.resulting_status],
            server_timestamp=decided_at,
            created_at=decided_at,
        )


class UpdateResponse(BaseModel):
    sync_event_id: str
    acknowledged: bool
    reason: str
    updated_at: datetime


class DeleteResponse(BaseModel):
    sync_event_id: str
    deleted: bool
    deleted_at: datetime


class SyncEvent(BaseModel):
    sync_event_id: str
    mentor_id: str
    event_type: EventType
    resulting_status: MentorStatus
    server_timestamp: datetime
    acknowledged: bool

    @classmethod
    def of(cls, event: EventRow) -> Self:
        sync_event_id, mentor_id, event_type, resulting_status, server_timestamp = event
        return cls(
            sync_event_id=sync_event_id,
            mentor_id=mentor_id,
            event_type=EVENT_TYPES[Type(event_type)],
            resulting_status=STATUSES[Status(resulting_status)],
            server_timestamp=published_time(server_timestamp),
            acknowledged=False,
        )


class Pagination(BaseModel):
    page: int
    limit: int
    total: int


class ListResponse(BaseModel):
    data: list[SyncEvent]
    pagination: Pagination

    @classmethod
    def of(cls, result: Page, page: int, limit: int) -> Self:
        pagination = Pagination(page=page, limit=limit, total=result.total)
        return cls(data=[SyncEvent.of(event) for event in result.events], pagination=pagination)


class StatusResponse(BaseModel):
    mentor_id: str
    status: MentorStatus
    is_eligible_for_assignment: bool
    last_updated: datetime
    pending_events: list[SyncEvent]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        return cls(
            mentor_id=snapshot.mentor_id,
            status=STATUSES[snapshot.status],
            is_eligible_for_assignment=snapshot.status.is_eligible_for_assignment,
            last_updated=published_time(snapshot.last_updated),
            pending_events=[SyncEvent.of(event) for event in snapshot.pending_events],
        )


def published_time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC)
