"""What comes next in the feed, made once for all who get the same."""

from typing import NamedTuple

from mentorsync.feed.cursor import Cursor
from mentorsync.feed.ring import Ring
from mentorsync.feed.subscriber import Subscriber

MESSAGE_CHANGES = 200  # in one message: 80 KB of server-sent events
KEPT_STEPS = 16  # those who take the same step do so within one round


class Step(NamedTuple):
    """A message with so many changes, which leads to `position`. It is empty if no change up to there is wanted."""

    position: int
    changes: int
    message: bytes


class Steps:
    """The steps of all subscribers, in a ring up to revision `end`."""

    def __init__(self, ring: Ring, end: int) -> None:
        self._ring = ring
        self._end = end
        self._steps: dict[object, Step] = {}

    def after(self, subscriber: Subscriber) -> Step | None:
        """The next step of a subscriber. None if the ring no longer has all changes that it misses."""
        first = subscriber.misses_from(self._end)
        key = (subscriber.made, subscriber.mentor_ids, subscriber.position, first)
        step = self._steps.get(key)
        if step is None:
            step = self._make(subscriber, first)
            if step is None:
                return None
            if len(self._steps) >= KEPT_STEPS:
                self._steps.clear()
            self._steps[key] = step
        return step

    def _make(self, subscriber: Subscriber, first: int | None) -> Step | None:
        position = max(subscriber.position, self._end if first is None else first - 1)
        while position < self._end:
            changes = self._ring.since(position, self._end, MESSAGE_CHANGES)
            if changes is None:
                return None
            position = self._end if len(changes) < MESSAGE_CHANGES else changes[-1].revision
            if wanted := subscriber.wanted(changes):
                cursor = Cursor(self._ring.epoch, position, subscriber.filter_hash)
                return Step(position, len(wanted), subscriber.made.changes(wanted, cursor))
        return Step(position, 0, b"")
