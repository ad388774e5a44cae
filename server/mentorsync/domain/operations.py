"""The writes that callers ask for, validated, before anything is decided."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from mentorsync.domain.status import EventType

DIGEST_BYTES = 16  # 128 bits: no accidental collision at any number of events


def _digest(*parts: str) -> str:
    # The parts cannot hold the separator: control characters other than line feed and tab are refused.
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()


@dataclass(frozen=True)
class SubmitOperation:
    """A submitted event. client_timestamp: nanoseconds since the Unix epoch."""

    mentor_id: str
    event_type: EventType
    reason: str
    client_timestamp: int | None
    idempotency_key: str | None

    @cached_property
    def payload_digest(self) -> str:
        """Tells one payload from another, for as long as the record lives, without keeping its text."""
        client_timestamp = "" if self.client_timestamp is None else str(self.client_timestamp)
        return _digest(str(int(self.event_type)), client_timestamp, self.reason)

    @cached_property
    def request_key(self) -> str | None:
        """The same for every repetition of this submit; None where a repetition cannot be told from a new event."""
        if self.idempotency_key is not None:
            return _digest(self.mentor_id, "key", self.idempotency_key)
        if self.client_timestamp is not None:
            return _digest(self.mentor_id, "payload", self.payload_digest)
        return None


@dataclass(frozen=True, slots=True)
class UpdateOperation:
    """A change to an event; None leaves a field as it is."""

    sync_event_id: str
    acknowledged: bool | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class DeleteOperation:
    sync_event_id: str


Operation = SubmitOperation | UpdateOperation | DeleteOperation
