"""Why a stream cannot go on from where its receiver is."""

from enum import Enum


class ResetReason(Enum):
    """The names are those of the protobuf enum, and of the JSON."""

    EXPIRED = "events that were changed after the cursor have been purged"
    FOREIGN = "the cursor belongs to another history of the log"
    FILTER_CHANGED = "the cursor was given for other mentors"


class ResetError(Exception):
    def __init__(self, reason: ResetReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
