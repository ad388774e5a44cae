"""Decides operations one after the other against the records that they refer to."""

import secrets
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter

from mentorsync.domain.errors import DomainError, EventNotFoundError, IdempotencyKeyReusedError
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import LogHead, Mentor, SyncEvent
from mentorsync.domain.status import INITIAL_STATUS, Accepted, MentorStatus, decide, effective_time

EVENT_ID_PREFIX = "evt_"
EVENT_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EVENT_ID_PAIRS = [first + second for first in EVENT_ID_ALPHABET for second in EVENT_ID_ALPHABET]
EVENT_IDS = len(EVENT_ID_PAIRS) ** 4  # of eight characters


def draw_event_id() -> str:
    """Draws a random event id. If it is in use already, the store repeats the batch with new ids."""
    number, first = divmod(secrets.randbelow(EVENT_IDS), len(EVENT_ID_PAIRS))
    number, second = divmod(number, len(EVENT_ID_PAIRS))
    fourth, third = divmod(number, len(EVENT_ID_PAIRS))
    pairs = EVENT_ID_PAIRS
    return f"{EVENT_ID_PREFIX}{pairs[first]}{pairs[second]}{pairs[third]}{pairs[fourth]}"


class Ledger:
    """The records that one batch of operations refers to, held in memory while the batch is decided.

    It is made from the log's head, the mentors and the events that the operations name by id or request key, and the
    clock in microseconds. `apply` decides one operation. Afterwards `head`, `new_events`, `changed_events` and
    `changed_mentors` hold everything that has to be stored.
    """

    def __init__(
        self,
        head: LogHead,
        mentors: Iterable[Mentor],
        events: Iterable[SyncEvent],
        clock: int,
        new_event_id: Callable[[], str] = draw_event_id,
    ) -> None:
        self.clock_ahead = head.last_server_timestamp - clock
        self.now = max(clock, head.last_server_timestamp)  # events stay in order if the clock was set back
        self.has_erased_text = False
        self.new_events: dict[str, SyncEvent] = {}
        self.changed_events: dict[str, SyncEvent] = {}
        self.changed_mentors: dict[str, Mentor] = {}
        self._last_revision, self._last_server_timestamp, self._pending_total = head
        self._new_event_id = new_event_id
        self._mentors = {mentor.mentor_id: mentor for mentor in mentors}
        self._events: dict[str, SyncEvent] = {}
        self._by_request_key: dict[str, SyncEvent] = {}
        for event in events:
            self._remember(event)

    @property
    def head(self) -> LogHead:
        """The log's head after the operations that were applied."""
        return LogHead(self._last_revision, self._last_server_timestamp, self._pending_total)

    @property
    def has_changes(self) -> bool:
        return bool(self.new_events or self.changed_events)

    @property
    def changes(self) -> list[SyncEvent]:
        """The new and the changed events, in ascending order of revision."""
        return sorted(chain(self.new_events.values(), self.changed_events.values()), key=attrgetter("revision"))

    def status_of(self, mentor_id: str) -> MentorStatus:
        """The status after the operations that were applied, of a mentor that the ledger was made with or has added."""
        return self._mentors[mentor_id].status

    def apply(self, operation: Operation) -> SyncEvent:
        """Decides one operation and returns its event as the operation left it, or raises a DomainError."""
        match operation:
            case SubmitOperation():
                return self._submit(operation)
            case UpdateOperation():
                return self._update(operation)
            case DeleteOperation():
                return self._delete(operation)

    def apply_all(self, operations: Iterable[Operation]) -> list[SyncEvent | DomainError]:
        """Decides operations in order. One that is refused does not affect the others."""
        outcomes: list[SyncEvent | DomainError] = []
        for operation in operations:
            try:
                outcomes.append(self.apply(operation))
            except DomainError as error:
                outcomes.append(error)
        return outcomes

    def _submit(self, submit: SubmitOperation) -> SyncEvent:
        if submit.request_key is not None:
            earlier = self._by_request_key.get(submit.request_key)
            if earlier is not None:
                if earlier.payload_digest != submit.payload_digest:
                    raise IdempotencyKeyReusedError
                return earlier
        return self._record(submit)

    def _record(self, submit: SubmitOperation) -> SyncEvent:
        mentor = self._mentors.get(submit.mentor_id)
        event_effective_time = effective_time(submit.client_timestamp, self.now)
        decision = decide(
            mentor.status if mentor else INITIAL_STATUS,
            mentor.last_effective_time if mentor else None,
            submit.event_type,
            event_effective_time,
        )
        accepted = isinstance(decision, Accepted)
        sync_event_id = self._unknown_event_id()
        revision = self._next_revision()
        event = SyncEvent(
            sequence=revision,
            revision=revision,
            sync_event_id=sync_event_id,
            mentor_id=submit.mentor_id,
            event_type=submit.event_type,
            client_timestamp=None if submit.client_timestamp is None else submit.client_timestamp // 1000,
            accepted=accepted,
            resulting_status=decision.status,
            acknowledged=False,
            reason=submit.reason,
            server_timestamp=self.now,
            updated_at=self.now,
            deleted_at=None,
            request_key=submit.request_key,
            payload_digest=submit.payload_digest,
        )
        if accepted:
            pending_total = mentor.pending_total + 1 if mentor else 1
            self._keep_mentor(Mentor(submit.mentor_id, decision.status, self.now, event_effective_time, pending_total))
            self._pending_total += 1
        self.new_events[event.sync_event_id] = event
        self._remember(event)
        return event

    def _update(self, update: UpdateOperation) -> SyncEvent:
        event = self._find(update)
        if event.deleted_at is not None:
            raise EventNotFoundError(update.sync_event_id)
        acknowledged = event.acknowledged if update.acknowledged is None else update.acknowledged
        reason = event.reason if update.reason is None else update.reason
        if acknowledged == event.acknowledged and reason == event.reason:
            return event
        return self._change(
            event,
            event._replace(
                revision=self._next_revision(), acknowledged=acknowledged, reason=reason, updated_at=self.now
            ),
        )

    def _delete(self, delete: DeleteOperation) -> SyncEvent:
        event = self._find(delete)
        if event.deleted_at is not None:
            return event
        return self._change(
            event,
            event._replace(revision=self._next_revision(), reason="", updated_at=self.now, deleted_at=self.now),
        )

    def _find(self, operation: UpdateOperation | DeleteOperation) -> SyncEvent:
        """The event that an operation names. Another mentor's is not found, so that no caller can find out its id."""
        event = self._events.get(operation.sync_event_id)
        if event is None or operation.on_behalf_of not in (None, event.mentor_id):
            raise EventNotFoundError(operation.sync_event_id)
        return event

    def _change(self, before: SyncEvent, after: SyncEvent) -> SyncEvent:
        self._count_pending(after.mentor_id, after.pending - before.pending)
        self.has_erased_text = self.has_erased_text or before.reason not in ("", after.reason)
        is_new = after.sync_event_id in self.new_events
        (self.new_events if is_new else self.changed_events)[after.sync_event_id] = after
        self._remember(after)
        return after

    def _unknown_event_id(self) -> str:
        while (sync_event_id := self._new_event_id()) in self._events:
            continue  # a second event with this id would replace the first
        return sync_event_id

    def _next_revision(self) -> int:
        self._last_revision += 1
        self._last_server_timestamp = self.now
        return self._last_revision

    def _count_pending(self, mentor_id: str, difference: int) -> None:
        if difference:
            mentor = self._mentors[mentor_id]
            self._keep_mentor(mentor._replace(pending_total=mentor.pending_total + difference))
            self._pending_total += difference

    def _keep_mentor(self, mentor: Mentor) -> None:
        self._mentors[mentor.mentor_id] = self.changed_mentors[mentor.mentor_id] = mentor

    def _remember(self, event: SyncEvent) -> None:
        self._events[event.sync_event_id] = event
        if event.request_key is not None:
            self._by_request_key[event.request_key] = event
