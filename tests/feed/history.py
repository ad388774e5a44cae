"""What one receiver saw over all its connections, and what the database says happened."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from mentorsync.feed.cursor import Cursor

from tests.feed.receivers import Step


class Opened(NamedTuple):
    """The receiver connected, with the last cursor that it had, or with none."""

    cursor: str


class History(NamedTuple):
    """No mentor_ids: all mentors. `entries` is appended to while the receiver runs."""

    mentor_ids: frozenset[str]
    changes_only: bool
    entries: list[Opened | Step]

    def wants(self, mentor_id: str) -> bool:
        return not self.mentor_ids or mentor_id in self.mentor_ids

    def resumed(self, place: int, entries: list[Opened | Step]) -> "History":
        """The history up to a place, continued by another one."""
        return self._replace(entries=self.entries[: place + 1] + entries)


class State(NamedTuple):
    """An event at one revision."""

    sync_event_id: str
    mentor_id: str
    accepted: bool
    pending: bool
    deleted: bool


class Log:
    """The truth. `states`: each revision that was committed, with the event as it was then.

    pending, statuses: the tables at the end, as ids of events and as status by mentor. restored_revision: where a
    backup that was restored ended; cursors after it are of events that never happened.
    """

    def __init__(
        self,
        states: Mapping[int, State],
        pending: frozenset[str],
        statuses: Mapping[str, str],
        *,
        purged_revision: int = 0,
        restored_revision: int | None = None,
    ) -> None:
        self.states = states
        self.pending = pending
        self.statuses = statuses
        self.last_revision = max(states, default=0)
        self.purged_revision = purged_revision
        self.restored_revision = restored_revision

    @cached_property
    def _revisions(self) -> dict[str, list[int]]:
        revisions: dict[str, list[int]] = {}
        for revision in sorted(self.states):
            revisions.setdefault(self.states[revision].sync_event_id, []).append(revision)
        return revisions

    @cached_property
    def _last_revisions(self) -> list[int]:
        """The last revision of each event, ascending."""
        return sorted(revisions[-1] for revisions in self._revisions.values())

    def revisions_of(self, sync_event_id: str, after: int, to: int) -> list[int]:
        revisions = self._revisions.get(sync_event_id, [])
        return revisions[bisect_right(revisions, after) : bisect_right(revisions, to)]

    def final_states(self, after: int, to: int) -> Iterator[State]:
        """The last states of the events that were last changed between two revisions."""
        for place in range(bisect_right(self._last_revisions, after), bisect_right(self._last_revisions, to)):
            yield self.states[self._last_revisions[place]]


class Fold:
    """What a receiver knows if it follows the documentation. `base`: it knows nothing from before this revision."""

    def __init__(self) -> None:
        self.base = 0
        self.states: dict[str, State] = {}
        self.statuses: dict[str, str] = {}

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # all is as in the beginning

    @property
    def pending(self) -> frozenset[str]:
        return frozenset(state.sync_event_id for state in self.states.values() if state.pending)

    def take(self, step: Step) -> list[State]:
        """Takes what a step has, and returns its changes."""
        if step.kind == "snapshot":
            self._take_snapshot(step.data)
            return []
        data = step.data["changes"] if step.kind == "present" else [step.data]
        changes = [state_of(change) for change in data]
        self.states |= {state.sync_event_id: state for state in changes}
        self.statuses |= {change["event"]["mentor_id"]: change["mentor_status"] for change in data}
        return changes

    def _take_snapshot(self, snapshot: Any) -> None:
        mentor_id = snapshot["mentor_id"]
        self.statuses[mentor_id] = snapshot["status"]
        self.states = {one: state for one, state in self.states.items() if state.mentor_id != mentor_id}
        ids = [event["sync_event_id"] for event in snapshot["pending_events"]]
        self.states |= {one: State(one, mentor_id, accepted=True, pending=True, deleted=False) for one in ids}


def state_of(change: Any) -> State:
    """The state that a change shows, in the shape of its JSON."""
    event = change["event"]
    flags = (change["accepted"], change["pending"], change["deleted"])
    return State(event["sync_event_id"], event["mentor_id"], *flags)


class Moment(NamedTuple):
    """A cursor that a receiver got, with the one before it and the changes since then.

    before: None if there was none, or if a present state has come since then. fold: what it knows at this moment.
    """

    before: Cursor | None
    at: Cursor
    changes: list[State]
    fold: Fold


def moments(history: History) -> Iterator[Moment]:
    """All cursors in the order in which they came. `fold` is the same object each time: look at it at once."""
    fold = Fold()
    before: Cursor | None = None
    changes: list[State] = []
    for entry in history.entries:
        if isinstance(entry, Opened):
            before, changes = _connect(fold, before, entry), []
            continue
        if entry.kind == "reset":
            fold.clear()
            before = None
        elif entry.kind in {"snapshot", "present"}:
            fold.take(entry)
            before = None
        elif entry.kind == "change":
            changes += fold.take(entry)
        if entry.cursor:
            at = Cursor.parse(entry.cursor)
            if history.changes_only and not before and not fold.states:
                fold.base = at.revision
            yield Moment(before, at, changes, fold)
            before, changes = at, []


def _connect(fold: Fold, before: Cursor | None, opened: Opened) -> Cursor | None:
    if not opened.cursor:
        fold.clear()
        return None
    cursor = Cursor.parse(opened.cursor)
    if before is None and not fold.states:
        fold.base = cursor.revision
    return cursor
