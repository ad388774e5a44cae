"""What a well-formed call can fail with for reasons of the domain."""


class DomainError(Exception):
    """The base of all refusals that leave every record as it was."""


class MentorNotFoundError(DomainError):
    def __init__(self, mentor_id: str) -> None:
        super().__init__(mentor_id)
        self.mentor_id = mentor_id


class EventNotFoundError(DomainError):
    def __init__(self, sync_event_id: str) -> None:
        super().__init__(sync_event_id)
        self.sync_event_id = sync_event_id


class IdempotencyKeyReusedError(DomainError):
    """The key came before, for the same mentor, with another payload."""
