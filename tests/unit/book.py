"""The records after a chain of operations, without a database. The ledger's rules are tested with it."""

from mentorsync.domain.ledger import Ledger
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import LogHead, Mentor, SyncEvent
from mentorsync.domain.status import EventType

START = 1_774_516_500  # 2026-03-26T09:15:00Z
MENTOR_ID = "mntr_01HX4V2K8P"


class Book:
    """Applies operations one by one, each in its own ledger, at `second` seconds after START."""

    def __init__(self) -> None:
        self.second = 0.0
        self.head = LogHead(last_revision=0, last_server_timestamp=0, pending_total=0)
        self.mentors: dict[str, Mentor] = {}
        self.events: dict[str, SyncEvent] = {}

    @property
    def clock(self) -> int:
        """Microseconds since the Unix epoch."""
        return int((START + self.second) * 1_000_000)

    def submit(
        self,
        event_type: EventType,
        sent_at: float | None = None,
        *,
        mentor_id: str = MENTOR_ID,
        reason: str = "",
        key: str | None = None,
    ) -> SyncEvent:
        """Submits an event with a client_timestamp of `sent_at` seconds after START."""
        client_timestamp = None if sent_at is None else int((START + sent_at) * 1_000_000) * 1_000
        return self.apply(SubmitOperation(mentor_id, event_type, reason, client_timestamp, key))

    def update(self, event: SyncEvent, *, acknowledged: bool | None = None, reason: str | None = None) -> SyncEvent:
        return self.apply(UpdateOperation(event.sync_event_id, acknowledged, reason))

    def delete(self, event: SyncEvent) -> SyncEvent:
        return self.apply(DeleteOperation(event.sync_event_id))

    def apply(self, operation: Operation) -> SyncEvent:
        ledger = Ledger(self.head, self.mentors.values(), self.events.values(), self.clock)
        event = ledger.apply(operation)
        self.head = ledger.head
        self.mentors |= ledger.changed_mentors
        self.events |= ledger.new_events | ledger.changed_events
        return event

    def mentor(self, mentor_id: str = MENTOR_ID) -> Mentor:
        return self.mentors[mentor_id]
