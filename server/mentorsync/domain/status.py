"""The status rules, as data, and the one function that decides by them."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple


class EventType(IntEnum):
    """What was submitted. The numbers are the protobuf enum's, and stored."""

    PAUSE = 1
    RESUME = 2
    DEACTIVATE = 3
    ACTIVATE = 4


class MentorStatus(IntEnum):
    """Whether a mentor takes part. The numbers are the protobuf enum's, and stored."""

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

INITIAL_STATUS = MentorStatus.ACTIVE  # a mentor's first event is judged as if the mentor were active


class Accepted(NamedTuple):
    """The event decided the status."""

    status: MentorStatus


class Stale(NamedTuple):
    """The event took effect before the mentor's last accepted one; the status stays."""

    status: MentorStatus


class NotAllowed(NamedTuple):
    """The event does not lead anywhere from the present status, which stays."""

    status: MentorStatus


Decision = Accepted | Stale | NotAllowed


def effective_time(client_timestamp: int | None, server_timestamp: int) -> int:
    """When an event took effect, in whole seconds: the phone's time (nanoseconds), but never after the server's
    (microseconds). Cut to seconds because phones send whole ones: compared more finely, a tap sent 0.2 s after a
    server-side event would be stale.
    """
    server_seconds = server_timestamp // 1_000_000
    if client_timestamp is None:
        return server_seconds
    return min(client_timestamp // 1_000_000_000, server_seconds)


def decide(
    status: MentorStatus, last_effective_time: int | None, event_type: EventType, event_effective_time: int
) -> Decision:
    """Judges one event against the mentor's status and the effective time of its last accepted event (None: no event
    yet). Within one second the later arrival wins.
    """
    if last_effective_time is not None and event_effective_time < last_effective_time:
        return Stale(status)
    transition = TRANSITIONS[event_type]
    if status not in transition.allowed_from:
        return NotAllowed(status)
    return Accepted(transition.leads_to)
