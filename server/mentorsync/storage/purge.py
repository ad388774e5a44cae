"""Removes what nobody can need again, in batches small enough not to be felt by a server at work."""

from collections.abc import Callable
from typing import Any

from peewee import fn

from mentorsync.storage.engine import Engine
from mentorsync.storage.models import EventModel

WINDOW_EVENTS = 500  # looked at in one transaction


def purge(engine: Engine, older_than_seconds: float, on_progress: Callable[[int, int, int], None]) -> int:
    """Removes tombstones, acknowledged and never-accepted events whose last change is older than the given age, and
    returns how many.

    Walks the log from its start to the first event that is too young. After each transaction `on_progress` gets the
    sequence reached, the last sequence of all, and the number removed so far.
    """
    cutoff = engine.clock() - int(older_than_seconds * 1_000_000)
    with engine.database.bind_ctx([EventModel]):
        last = EventModel.select(fn.MAX(EventModel.sequence)).scalar()
        reached = removed = 0
        while window := _window(reached, cutoff):
            with engine.write_transaction():
                removed += _remove(window[0], window[-1], cutoff)
            reached = window[-1]
            on_progress(reached, last, removed)
    return removed


def _window(after: int, cutoff: int) -> list[int]:
    """The next sequences of events that are old enough; server_timestamp ascends with sequence."""
    query: Any = EventModel.select(EventModel.sequence, EventModel.server_timestamp).where(EventModel.sequence > after)
    rows = query.order_by(EventModel.sequence).limit(WINDOW_EVENTS).tuples()
    return [sequence for sequence, server_timestamp in rows if server_timestamp < cutoff]


def _remove(first: int, last: int, cutoff: int) -> int:
    unneeded = EventModel.deleted_at.is_null(False) | EventModel.acknowledged | ~EventModel.accepted
    query = EventModel.delete().where(
        EventModel.sequence.between(first, last), EventModel.updated_at < cutoff, unneeded
    )
    removed: int = query.execute()
    return removed
