"""The writes that callers request: validated, not yet decided."""

from dataclasses import dataclass, field
from hashlib import blake2b

from mentorsync.domain.status import EventType

DIGEST_BYTES = 16  # 128 bits: no accidental collision at any number of events


def _digest(*parts: str) -> str:
    # No part contains the separator: control characters other than line feed and tab are refused.
    return blake2b("\0".join(parts).encode(), digest_size=DIGEST_BYTES).hexdigest()


@dataclass(slots=True)  # not frozen: that would make construction three times as slow
class SubmitOperation:
    """A submitted event. client_timestamp: nanoseconds since the Unix epoch.

    payload_digest identifies the payload without storing its text, for as long as the record exists.
    request_key is the same for every repetition of this submit. It is None if a repetition cannot be recognised.
    """

    mentor_id: str
    event_type: EventType
    reason: str
    client_timestamp: int | None
    idempotency_key: str | None

    payload_digest: str = field(init=False)
    request_key: str | None = field(init=False)

    def __post_init__(self) -> None:
        client_timestamp = "" if self.client_timestamp is None else str(self.client_timestamp)
        self.payload_digest = _digest(str(int(self.event_type)), client_timestamp, self.reason)
        if self.idempotency_key is not None:
            self.request_key = _digest(self.mentor_id, "key", self.idempotency_key)
        elif self.client_timestamp is not None:
            self.request_key = _digest(self.mentor_id, "payload", self.payload_digest)
        else:
            self.request_key = None


@dataclass(frozen=True, slots=True)
class UpdateOperation:
    """A change to an event; None leaves a field as it is.

    on_behalf_of: the one mentor whose events the caller may change, or None if the caller may change all.
    """

    sync_event_id: str
    acknowledged: bool | None
    reason: str | None
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteOperation:
    """on_behalf_of: as in UpdateOperation."""

    sync_event_id: str
    on_behalf_of: str | None = None


Operation = SubmitOperation | UpdateOperation | DeleteOperation
