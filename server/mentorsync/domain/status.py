"""The status rules as data, and the function that applies them."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple


class EventType(IntEnum):
    """The type of a submitted event. The numbers are those of the protobuf enum, and are stored."""

    PAUSE = 1
    RESUME = 2
    DEACTIVATE = 3
    ACTIVATE = 4


class MentorStatus(IntEnum):
    """A mentor's status. The numbers are those of the protobuf enum, and are stored."""

    ACTIVE = 1
    PAUSED = 2
    INACTIVE = 3

    @property
    def is_eligible_for_assignment(self) -> bool:
        return self is MentorStatus.ACTIVE


class Transition(NamedTuple):
    leads_to: MentorStatus
    allowed_from: frozenset[MentorStatus]


ANY_STATUS = frozenset(MentorStatus)

TRANSITIONS: Mapping[EventType, Transition] = {
    EventType.PAUSE: Transition(MentorStatus.PAUSED, frozenset({MentorStatus.ACTIVE, MentorStatus.PAUSED})),
    EventType.RESUME: Transition(MentorStatus.ACTIVE, frozenset({MentorStatus.PAUSED, MentorStatus.ACTIVE})),
    EventType.DEACTIVATE: Transition(MentorStatus.INACTIVE, ANY_STATUS),
    EventType.ACTIVATE: Transition(MentorStatus.ACTIVE, ANY_STATUS),
}

INITIAL_STATUS = MentorStatus.ACTIVE  # a mentor's first event is decided as if the mentor were active


class Accepted(NamedTuple):
    """The event sets the status."""

    status: MentorStatus


class Stale(NamedTuple):
    """The event took effect before the mentor's last accepted event. The status does not change."""

    status: MentorStatus


class NotAllowed(NamedTuple):
    """The event is not allowed from the current status, which does not change."""

    status: MentorStatus


Decision = Accepted | Stale | NotAllowed


def effective_time(client_timestamp: int | None, server_timestamp: int) -> int:
    """Returns when an event took effect, in whole seconds: the earlier of the phone's time (nanoseconds) and the
    server's (microseconds). Fractions are cut off because phones send whole seconds: otherwise a tap that was sent
    0.2 s after a server-side event would be stale.
    """
    server_seconds = server_timestamp // 1_000_000
    if client_timestamp is None:
        return server_seconds
    return min(client_timestamp // 1_000_000_000, server_seconds)


def decide(
    status: MentorStatus, last_effective_time: int | None, event_type: EventType, event_effective_time: int
) -> Decision:
    """Decides one event, given the mentor's status and the effective time of its last accepted event (None if there is
    none). Within one second the later arrival wins.
    """
    if last_effective_time is not None and event_effective_time < last_effective_time:
        return Stale(status)
    transition = TRANSITIONS[event_type]
    if status not in transition.allowed_from:
        return NotAllowed(status)
    return Accepted(transition.leads_to)
