"""The service in a few lines of plain Python, written from its semantics: slow, in memory, the reference for the tests.

Answers are the contract's JSON as dictionaries, or a Refusal.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

ALLOWED_FROM = {
    "PauseMentorEvent": ("active", "paused"),
    "ResumeMentorEvent": ("paused", "active"),
    "DeactivateMentorEvent": ("active", "paused", "inactive"),
    "ActivateMentorEvent": ("active", "paused", "inactive"),
}
LEADS_TO = {
    "PauseMentorEvent": "paused",
    "ResumeMentorEvent": "active",
    "DeactivateMentorEvent": "inactive",
    "ActivateMentorEvent": "active",
}
SECOND = 1_000_000  # all times are microseconds since the Unix epoch
NANOSECONDS_PER_SECOND = 1_000_000_000
PAGE_LIMIT = 100


class Refusal(NamedTuple):
    """An error's gRPC code and reason."""

    code: str
    reason: str


EVENT_NOT_FOUND = Refusal("NOT_FOUND", "EVENT_NOT_FOUND")


@dataclass(frozen=True)
class Submit:
    """client_timestamp: nanoseconds."""

    mentor_id: str
    event_type: str
    reason: str
    client_timestamp: int | None
    key: str | None


@dataclass
class Event:
    sent: Submit
    accepted: bool
    resulting_status: str
    decided: int
    effective: int
    reason: str
    updated: int
    sync_event_id: str = ""
    acknowledged: bool = False
    deleted: int | None = None
    purged: bool = False

    @property
    def pending(self) -> bool:
        return self.accepted and not self.acknowledged and self.deleted is None

    def item(self) -> dict[str, Any]:
        return {
            "sync_event_id": self.sync_event_id,
            "mentor_id": self.sent.mentor_id,
            "event_type": self.sent.event_type,
            "resulting_status": self.resulting_status,
            "server_timestamp": published(self.decided),
            "acknowledged": False,
        }

    def answer(self) -> dict[str, Any]:
        return {
            "sync_event_id": self.sync_event_id,
            "mentor_id": self.sent.mentor_id,
            "event_type": self.sent.event_type,
            "accepted": self.accepted,
            "resulting_status": self.resulting_status,
            "server_timestamp": published(self.decided),
            "created_at": published(self.decided),
        }


def published(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=microseconds // SECOND)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Model:
    def __init__(self) -> None:
        self.clock = 0
        self.history: list[Event] = []  # all events, the purged ones too
        self._newest_time = 0

    def submit(self, submit: Submit) -> Event | Refusal:
        """The event that answers a submit: a new one, last in `history` and still without an id, or an earlier one."""
        for event in self.history:
            if event.purged or event.sent.mentor_id != submit.mentor_id or event.sent.key != submit.key:
                continue
            if submit.key is None and (submit.client_timestamp is None or event.sent != submit):
                continue
            if event.sent != submit:
                return Refusal("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
            return event
        now = self._now()
        effective = now // SECOND
        if submit.client_timestamp is not None:
            effective = min(submit.client_timestamp // NANOSECONDS_PER_SECOND, effective)
        status, last = self._present(submit.mentor_id)
        is_stale = last is not None and effective < last.effective
        accepted = not is_stale and status in ALLOWED_FROM[submit.event_type]
        resulting = LEADS_TO[submit.event_type] if accepted else status
        event = Event(submit, accepted, resulting, now, effective, submit.reason, now)
        self.history.append(event)
        self._newest_time = now
        return event

    def update(self, sync_event_id: str, acknowledged: bool | None, reason: str | None) -> dict[str, Any] | Refusal:
        event = self._known(sync_event_id)
        if event is None or event.deleted is not None:
            return EVENT_NOT_FOUND
        before = (event.acknowledged, event.reason)
        if acknowledged is not None:
            event.acknowledged = acknowledged
        if reason is not None:
            event.reason = reason
        if before != (event.acknowledged, event.reason):
            event.updated = self._newest_time = self._now()
        return {
            "sync_event_id": sync_event_id,
            "acknowledged": event.acknowledged,
            "reason": event.reason,
            "updated_at": published(event.updated),
        }

    def delete(self, sync_event_id: str) -> dict[str, Any] | Refusal:
        event = self._known(sync_event_id)
        if event is None:
            return EVENT_NOT_FOUND
        if event.deleted is None:
            event.deleted = event.updated = self._newest_time = self._now()
        return {"sync_event_id": sync_event_id, "deleted": True, "deleted_at": published(event.deleted)}

    def page(self, page: int, limit: int, mentor_id: str | None) -> dict[str, Any]:
        limit = min(limit, PAGE_LIMIT)
        pending = [
            event.item() for event in self.history if event.pending and mentor_id in (None, event.sent.mentor_id)
        ]
        return {
            "data": pending[(page - 1) * limit : page * limit],
            "pagination": {"page": page, "limit": limit, "total": len(pending)},
        }

    def snapshot(self, mentor_id: str) -> dict[str, Any] | Refusal:
        status, last = self._present(mentor_id)
        if last is None:
            return Refusal("NOT_FOUND", "MENTOR_NOT_FOUND")
        return {
            "mentor_id": mentor_id,
            "status": status,
            "is_eligible_for_assignment": status == "active",
            "last_updated": published(last.decided),
            "pending_events": self.page(1, PAGE_LIMIT, mentor_id)["data"],
        }

    def purge(self, age: int) -> int:
        unneeded = [
            event
            for event in self.history
            if not event.purged
            and event.updated < self.clock - age
            and (event.deleted is not None or event.acknowledged or not event.accepted)
        ]
        for event in unneeded:
            event.purged = True
        return len(unneeded)

    def _now(self) -> int:
        return max(self.clock, self._newest_time)

    def _present(self, mentor_id: str) -> tuple[str, Event | None]:
        """The fold of all accepted events: the status, and the event that decided it."""
        accepted = [event for event in self.history if event.accepted and event.sent.mentor_id == mentor_id]
        return (accepted[-1].resulting_status, accepted[-1]) if accepted else ("active", None)

    def _known(self, sync_event_id: str) -> Event | None:
        for event in self.history:
            if event.sync_event_id == sync_event_id and not event.purged:
                return event
        return None
