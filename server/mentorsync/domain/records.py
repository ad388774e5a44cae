"""The records that the service stores. All are immutable: a change makes a new record."""

from typing import NamedTuple

from mentorsync.domain.status import EventType, MentorStatus


class LogHead(NamedTuple):
    """The end of the one log of changes."""

    last_revision: int
    last_server_timestamp: int
    pending_total: int


class Mentor(NamedTuple):
    """A mentor's status. last_effective_time is stored here so that deleting events changes no later decision."""

    mentor_id: str
    status: MentorStatus
    last_updated: int
    last_effective_time: int
    pending_total: int


class SyncEvent(NamedTuple):
    """A submitted event with its outcome.

    sequence is the revision of its submit, and revision is that of its last change. request_key identifies repetitions
    of its submit; it is None if a repetition cannot be recognised. payload_digest shows whether a repetition has the
    same payload. Neither changes when the reason is edited.
    """

    sequence: int
    revision: int
    sync_event_id: str
    mentor_id: str
    event_type: EventType
    client_timestamp: int | None  # microseconds, as all stored times
    accepted: bool
    resulting_status: MentorStatus
    acknowledged: bool
    reason: str
    server_timestamp: int
    updated_at: int
    deleted_at: int | None
    request_key: str | None
    payload_digest: str

    @property
    def pending(self) -> bool:
        return self.accepted and not self.acknowledged and self.deleted_at is None
