"""The domain's reasons to refuse a well-formed call."""


class DomainError(Exception):
    """The base of all refusals. A refused call changes no record."""


class MentorNotFoundError(DomainError):
    def __init__(self, mentor_id: str) -> None:
        super().__init__(mentor_id)
        self.mentor_id = mentor_id


class EventNotFoundError(DomainError):
    def __init__(self, sync_event_id: str) -> None:
        super().__init__(sync_event_id)
        self.sync_event_id = sync_event_id


class IdempotencyKeyReusedError(DomainError):
    """The same mentor has used this key before, with a different payload."""
