"""Each validator of the feed's histories finds what it is for, and nothing in a history that is right."""

import pytest
from mentorsync.feed.cursor import Cursor

from tests.feed.history import History, Log, Opened, State
from tests.feed.receivers import Step
from tests.feed.validators import VALIDATORS, violations

EPOCH = 7
FILTER = b"filter!"
ONE, OTHER = "mntr_1", "mntr_2"
# evt_1 is pending, evt_2 was submitted, acknowledged and purged, evt_3 was not accepted, and evt_4 is another mentor's.
STATES = {
    1: State("evt_1", ONE, accepted=True, pending=True, deleted=False),
    2: State("evt_2", ONE, accepted=True, pending=True, deleted=False),
    3: State("evt_3", ONE, accepted=False, pending=False, deleted=False),
    4: State("evt_2", ONE, accepted=True, pending=False, deleted=False),
    5: State("evt_4", OTHER, accepted=True, pending=True, deleted=False),
}
LOG = Log(STATES, frozenset({"evt_1", "evt_4"}), {ONE: "paused", OTHER: "paused"}, purged_revision=4)


def at(revision: int, epoch: int = EPOCH) -> str:
    return str(Cursor(epoch, revision, FILTER))


def change(revision: int, cursor: int | None = None, status: str = "paused") -> Step:
    """The change of a revision, with its own cursor or another one."""
    state = STATES[revision]
    event = {"sync_event_id": state.sync_event_id, "mentor_id": state.mentor_id}
    flags = {"accepted": state.accepted, "pending": state.pending, "deleted": state.deleted}
    return Step("change", {"event": event, "mentor_status": status, **flags}, at(cursor or revision))


def snapshot(*event_ids: str) -> Step:
    events = [{"sync_event_id": event_id} for event_id in event_ids]
    return Step("snapshot", {"mentor_id": ONE, "status": "paused", "pending_events": events}, "")


def reset(reason: str) -> Step:
    return Step("reset", {"reason": reason}, "")


def current(revision: int, epoch: int = EPOCH) -> Step:
    return Step("current", {}, at(revision, epoch))


def heartbeat(revision: int) -> Step:
    return Step("heartbeat", None, at(revision))


Entries = list[Opened | Step]
NEW, AGAIN = Opened(""), Opened(at(2))
RIGHT: dict[str, Entries] = {
    "all changes": [NEW, current(0), change(1), change(2), change(3), change(4), change(5)],
    "a lost connection": [NEW, current(0), change(1), change(2), AGAIN, change(3), change(4), change(5)],
    "a state that was skipped": [NEW, current(0), change(1), change(3), change(4), change(5)],
    "the present state": [NEW, snapshot("evt_1"), Step("present", {"changes": [change(5).data]}, ""), current(5)],
    "an expired cursor": [AGAIN, reset("EXPIRED"), snapshot("evt_1"), current(4), change(5)],
    "another epoch": [AGAIN, reset("FOREIGN"), snapshot("evt_1"), current(4, 8), Step(*change(5)[:2], at(5, 8))],
}
WRONG: dict[str, tuple[str, Entries]] = {
    "a cursor that goes back": ("ordered", [NEW, current(0), change(1), change(2), heartbeat(1)]),
    "a change that moves no cursor": ("ordered", [NEW, current(0), change(1), change(2, cursor=1)]),
    "an epoch without a reset": ("ordered", [NEW, current(0), heartbeat(1), current(2, 8)]),
    "a change that comes again": ("unique", [NEW, current(0), change(1), change(2), AGAIN, change(1, cursor=3)]),
    "a change that comes twice": ("unique", [NEW, current(0), Step(*change(1)[:2], ""), change(1, cursor=2)]),
    "a change before it happened": ("unique", [NEW, current(0), change(4, cursor=3)]),
    "a cursor that overtakes": ("no_cursor_ahead", [NEW, current(0), heartbeat(1), change(1, cursor=2)]),
    "a change lost before CURRENT": ("no_cursor_ahead", [NEW, snapshot(), current(4)]),
    "a change lost on resuming": ("no_cursor_ahead", [NEW, current(0), change(1), change(2), AGAIN, change(5)]),
    "a state that is too old": ("no_cursor_ahead", [NEW, snapshot("evt_1", "evt_2"), current(4), change(5)]),
    "an end that is missing": ("complete", RIGHT["all changes"][:-1]),
    "an event too many": ("complete", [*RIGHT["the present state"][:-1], snapshot("evt_1", "evt_9"), current(5)]),
    "another status": ("complete", [*RIGHT["all changes"][:-1], change(5, status="active")]),
    "a reset without need": ("resets_have_a_cause", [NEW, current(4), reset("FOREIGN"), snapshot("evt_1"), current(5)]),
    "an expiry without a purge": (
        "resets_have_a_cause",
        [Opened(at(4)), reset("EXPIRED"), snapshot("evt_1"), current(5)],
    ),
}


def history(entries: Entries, *mentor_ids: str, changes_only: bool = False) -> History:
    return History(frozenset(mentor_ids), changes_only, entries)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_passes(name: str) -> None:
    assert violations(history(RIGHT[name]), LOG) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_found(name: str) -> None:
    """By the validator that is for it."""
    validator, entries = WRONG[name]
    assert [line for line in violations(history(entries), LOG) if line.startswith(f"{validator}:")]


def test_each_validator_has_a_wrong_history() -> None:
    names = {validator.__name__ for validator in VALIDATORS}
    assert {name for name, _ in WRONG.values()} | {"filters_exact"} == names


@pytest.mark.parametrize("step", [change(5), Step("present", {"changes": [change(5).data]}, "")])
def test_another_mentor_is_found(step: Step) -> None:
    """In changes and in the present state."""
    entries: Entries = [NEW, current(0), step]
    assert "filters_exact: mntr_2 was not asked for" in violations(history(entries, ONE), LOG)


def test_a_filter_leaves_out_other_mentors() -> None:
    """Its cursor passes their changes."""
    entries: Entries = [NEW, snapshot("evt_1"), current(4), heartbeat(5)]
    assert violations(history(entries, ONE), LOG) == []


def test_without_a_present_state_only_what_follows_must_be_known() -> None:
    """Nothing is known of what came before the first cursor."""
    told: Entries = [NEW, current(4), change(5)]
    untold: Entries = [NEW, current(4), heartbeat(5)]
    assert violations(history(told, changes_only=True), LOG) == []
    assert violations(history(untold, changes_only=True), LOG)


def test_a_resumed_history_is_judged_like_any_other() -> None:
    """What follows a cursor that was given long ago must lead to the same end."""
    whole = history(RIGHT["all changes"])
    assert violations(whole.resumed(3, [Opened(at(2)), change(3), change(4), change(5)]), LOG) == []
    assert violations(whole.resumed(3, [Opened(at(2)), change(4), change(5)]), LOG)


def test_a_restored_backup_makes_later_cursors_foreign() -> None:
    """Also under the same epoch."""
    entries: Entries = [Opened(at(9)), reset("FOREIGN"), snapshot("evt_1"), current(4), change(5)]
    restored = Log(STATES, LOG.pending, LOG.statuses, restored_revision=4)
    assert violations(history(entries), restored) == []
    assert violations(history(entries), LOG)
