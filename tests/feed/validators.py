"""What must hold of every history of a receiver, whatever happened meanwhile.

Each validator is a pure function that yields one line for each violation. The model is etcd's robustness tests.
"""

from collections.abc import Callable, Iterator

from mentorsync.feed.cursor import Cursor

from tests.feed.history import History, Log, Moment, Opened, moments, state_of

Validator = Callable[[History, Log], Iterator[str]]


def ordered(history: History, _log: Log) -> Iterator[str]:
    """Cursors never go back, and each change moves them on."""
    for moment in moments(history):
        if moment.before is None:
            continue
        if moment.at.epoch != moment.before.epoch:
            yield f"another epoch without a reset after revision {moment.before.revision}"
        is_back = moment.at.revision < moment.before.revision
        if is_back or (moment.changes and moment.at.revision == moment.before.revision):
            yield f"cursor {moment.at.revision} after {moment.before.revision}"


def unique(history: History, log: Log) -> Iterator[str]:
    """Each change happened as it was told, after the cursor before it, and comes once."""
    for moment in moments(history):
        after = moment.before.revision if moment.before else 0
        for change in moment.changes:
            found = log.revisions_of(change.sync_event_id, after, moment.at.revision)
            if not any(log.states[revision] == change for revision in found):
                yield f"{change} is repeated or did not happen between {after} and {moment.at.revision}"
        told = [change.sync_event_id for change in moment.changes]
        for sync_event_id in {*told}:
            if told.count(sync_event_id) > len(log.revisions_of(sync_event_id, after, moment.at.revision)):
                yield f"{sync_event_id} comes twice between {after} and {moment.at.revision}"


def no_cursor_ahead(history: History, log: Log) -> Iterator[str]:
    """At each cursor the receiver knows of all events that were last changed up to it."""
    for moment in moments(history):
        after = moment.before.revision if moment.before else moment.fold.base
        for state in log.final_states(after, moment.at.revision):
            known = moment.fold.states.get(state.sync_event_id)
            is_known = known == state if moment.before else bool(known and known.pending) == state.pending
            if history.wants(state.mentor_id) and not is_known:
                yield f"cursor {moment.at.revision} (after {after}) overtakes {state}: {known} is known"


def complete(history: History, log: Log) -> Iterator[str]:
    """In the end the receiver knows what the tables have."""
    last: Moment | None = None
    for moment in moments(history):
        last = moment
    if last is None or last.at.revision != log.last_revision:
        yield f"ends at {last and last.at.revision} instead of {log.last_revision}"
        return
    fold = last.fold
    recent = log.final_states(fold.base, log.last_revision)
    wanted = {state.sync_event_id for state in recent if history.wants(state.mentor_id)}
    if differences := fold.pending ^ (log.pending & wanted):
        yield f"other events are pending than in the tables: {sorted(differences)}"
    for mentor_id, status in fold.statuses.items():
        if status != log.statuses[mentor_id]:
            yield f"{mentor_id} is {log.statuses[mentor_id]}, and the receiver knows {status}"


def filters_exact(history: History, _log: Log) -> Iterator[str]:
    """Nothing comes of mentors that were not asked for."""
    for entry in history.entries:
        if isinstance(entry, Opened) or entry.kind not in {"snapshot", "present", "change"}:
            continue
        changes = entry.data["changes"] if entry.kind == "present" else [entry.data]
        mentors = (
            [entry.data["mentor_id"]] if entry.kind == "snapshot" else [state_of(one).mentor_id for one in changes]
        )
        yield from (f"{mentor_id} was not asked for" for mentor_id in mentors if not history.wants(mentor_id))


def resets_have_a_cause(history: History, log: Log) -> Iterator[str]:
    """A cursor is continued whenever it can be."""
    cursor: Cursor | None = None
    reason = ""
    for entry in history.entries:
        if isinstance(entry, Opened):
            cursor, reason = Cursor.parse(entry.cursor) if entry.cursor else None, ""
        elif entry.kind == "reset":
            reason = entry.data["reason"]
        if not isinstance(entry, Opened) and entry.cursor:
            now = Cursor.parse(entry.cursor)
            if reason and not _is_caused(reason, cursor, now, log):
                yield f"{reason} at {cursor}, with {now} after it"
            cursor, reason = now, ""


def _is_caused(reason: str, cursor: Cursor | None, now: Cursor, log: Log) -> bool:
    if cursor is None:
        return reason == "FOREIGN"  # the epoch was renewed while the present state was read
    is_lost = log.restored_revision is not None and cursor.revision > log.restored_revision
    causes = {"EXPIRED": log.purged_revision > cursor.revision, "FOREIGN": now.epoch != cursor.epoch or is_lost}
    return causes.get(reason, False)


VALIDATORS: tuple[Validator, ...] = (ordered, unique, no_cursor_ahead, complete, filters_exact, resets_have_a_cause)


def violations(history: History, log: Log) -> list[str]:
    """What is wrong with a history that has come to the end of the log."""
    return [f"{validator.__name__}: {line}" for validator in VALIDATORS for line in validator(history, log)]
