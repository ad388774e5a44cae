"""The allowed changes of status, and the time at which an event takes effect."""

import pytest
from mentorsync.domain.status import (
    INITIAL_STATUS,
    TRANSITIONS,
    Accepted,
    EventType,
    MentorStatus,
    NotAllowed,
    Stale,
    decide,
    effective_time,
)

# The table of the semantics, word for word.
TABLE = """
| event_type | leads to | allowed from |
|---|---|---|
| `PauseMentorEvent` | `paused` | `active`, `paused` |
| `ResumeMentorEvent` | `active` | `paused`, `active` |
| `DeactivateMentorEvent` | `inactive` | any |
| `ActivateMentorEvent` | `active` | any |
"""
CONTRACT_NAMES = {
    "PauseMentorEvent": EventType.PAUSE,
    "ResumeMentorEvent": EventType.RESUME,
    "DeactivateMentorEvent": EventType.DEACTIVATE,
    "ActivateMentorEvent": EventType.ACTIVATE,
    "active": MentorStatus.ACTIVE,
    "paused": MentorStatus.PAUSED,
    "inactive": MentorStatus.INACTIVE,
}
ROWS = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in TABLE.split("\n")[3:-1]]
NOW = 1_774_516_500


@pytest.mark.parametrize("status", MentorStatus)
@pytest.mark.parametrize(("event_type", "leads_to", "allowed_from"), ROWS)
def test_an_event_leads_where_the_table_says_and_from_nowhere_else(
    event_type: str, leads_to: str, allowed_from: str, status: MentorStatus
) -> None:
    """An event is accepted from the statuses in the table, and changes no other status."""
    is_allowed = allowed_from == "any" or status in [CONTRACT_NAMES[name] for name in allowed_from.split(", ")]
    decision = decide(status, None, EventType(CONTRACT_NAMES[event_type]), NOW)
    assert decision == (Accepted(MentorStatus(CONTRACT_NAMES[leads_to])) if is_allowed else NotAllowed(status))
    assert type(decision) is (Accepted if is_allowed else NotAllowed)


def test_the_table_covers_every_event_type() -> None:
    """Every event type has a rule, and every rule has an event type."""
    assert len(ROWS) == len(TRANSITIONS) == len(EventType)


def test_a_mentor_is_active_before_the_first_event() -> None:
    """A mentor's first event is decided as if the mentor were active."""
    assert INITIAL_STATUS is MentorStatus.ACTIVE


@pytest.mark.parametrize("status", MentorStatus)
def test_only_an_active_mentor_is_eligible(status: MentorStatus) -> None:
    """A mentor is eligible for assignment exactly while active."""
    assert status.is_eligible_for_assignment is (status is MentorStatus.ACTIVE)


@pytest.mark.parametrize("event_type", EventType)
def test_an_earlier_event_is_stale(event_type: EventType) -> None:
    """An event from before the last accepted one does not change the status, whatever its type."""
    decision = decide(MentorStatus.PAUSED, NOW, event_type, NOW - 1)
    assert isinstance(decision, Stale)
    assert decision.status is MentorStatus.PAUSED


@pytest.mark.parametrize("later", [0, 1, 86_400])
def test_an_event_within_the_same_second_or_later_is_not_stale(later: int) -> None:
    """Within one second the later arrival wins."""
    assert decide(MentorStatus.PAUSED, NOW, EventType.RESUME, NOW + later) == Accepted(MentorStatus.ACTIVE)


@pytest.mark.parametrize(
    ("client_nanoseconds", "seconds"),
    [
        (None, NOW),
        ((NOW - 3_600) * 1_000_000_000, NOW - 3_600),
        (NOW * 1_000_000_000 - 1, NOW - 1),
        (NOW * 1_000_000_000 + 999_999_999, NOW),
        ((NOW + 1) * 1_000_000_000, NOW),
        (253_402_300_799 * 1_000_000_000, NOW),
        (0, 0),
        (-1, -1),
        (-62_135_596_800 * 1_000_000_000, -62_135_596_800),
    ],
)
def test_an_event_takes_effect_at_the_phones_time_but_never_after_the_servers(
    client_nanoseconds: int | None, seconds: int
) -> None:
    """The effective time is the earlier of the two times, cut to whole seconds, also before 1970."""
    assert effective_time(client_nanoseconds, NOW * 1_000_000 + 999_999) == seconds
