"""Removes records that are no longer needed, in batches so small that a running server is not slowed down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peewee import fn

from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import PurgeStoppedError
from mentorsync.storage.models import EventModel, HistoryModel

WINDOW_EVENTS = 500  # read in one transaction


class Purge:
    """One pass over the log, from its start to the first event that is too young.

    Removes the deleted, acknowledged and never-accepted events whose last change is older than the given age. After
    each transaction `on_progress` gets the sequence reached, the last sequence of all, and the number removed so far.
    """

    def __init__(self, engine: Engine, older_than_seconds: float, on_progress: Callable[[int, int, int], None]) -> None:
        self._engine = engine
        self._older_than_seconds = older_than_seconds
        self._on_progress = on_progress
        self._removed = 0

    def run(self) -> int:
        """Returns the number of removed events. Raises PurgeStoppedError when the database fails."""
        with self._engine.database.bind_ctx([EventModel, HistoryModel]), self._stopping_on_failure():
            cutoff = self._engine.clock() - int(self._older_than_seconds * 1_000_000)
            last = EventModel.select(fn.MAX(EventModel.sequence)).scalar()
            reached = 0
            while window := _window(reached, cutoff):
                with self._engine.write_transaction():
                    removed = _remove(window[0], window[-1], cutoff)
                self._removed += removed  # it counts once it is committed
                reached = window[-1]
                self._on_progress(reached, last, self._removed)
        return self._removed

    @contextmanager
    def _stopping_on_failure(self) -> Iterator[None]:
        try:
            yield
        except self._engine.failures as error:
            text = " ".join(str(error).split())
            raise PurgeStoppedError(
                f"the purge stopped: {text}; {self._removed} events were removed before that, run it again for the rest"
            ) from error


def purge(engine: Engine, older_than_seconds: float, on_progress: Callable[[int, int, int], None]) -> int:
    """Removes events that are no longer needed, and returns their number. See Purge."""
    return Purge(engine, older_than_seconds, on_progress).run()


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
    revisions = [revision for (revision,) in query.returning(EventModel.revision).tuples().execute()]
    if revisions:
        _note_purged(max(revisions))
    return len(revisions)


def _note_purged(revision: int) -> None:
    """Lets the readers of changes know, by the same transaction, what they may have missed."""
    HistoryModel.update(purged_revision=revision).where(HistoryModel.purged_revision < revision).execute()
