"""The newest changes of the log, in memory."""

from bisect import bisect_right
from collections.abc import Iterable

from mentorsync.feed.encoding import EncodedChange

RING_CHANGES = 16_384  # kept at least; about 20 s at the highest rate of writes, for 15 MB


class Ring:
    """All changes after revision `start`, up to revision `end`, of one history of the log.

    One thread at a time extends it, while others read. `since` sees what was complete at `end`.
    """

    def __init__(self, epoch: int, start: int, changes: int = RING_CHANGES) -> None:
        self.epoch = epoch
        self.end = start
        self._kept = changes
        self._part = _Part(start, [], [])

    def extend(self, changes: Iterable[EncodedChange], end: int) -> None:
        """Adds all changes after the present `end`, in ascending order, which lead to the new one."""
        part = self._part
        for change in changes:
            part.changes.append(change)
            part.revisions.append(change.revision)
        if len(part.revisions) > 2 * self._kept:  # so that each change is moved once at most
            kept = self._kept
            self._part = _Part(part.revisions[-kept - 1], part.revisions[-kept:], part.changes[-kept:])
        self.end = end

    def since(self, revision: int, end: int, limit: int) -> list[EncodedChange] | None:
        """The first changes after a revision and up to `end`. None if they are no longer all here."""
        part = self._part
        if revision < part.start:
            return None
        first = bisect_right(part.revisions, revision)
        return part.changes[first : min(bisect_right(part.revisions, end), first + limit)]


class _Part:
    """`changes` is extended before `revisions`: a reader finds the change of every revision that it sees."""

    __slots__ = ("changes", "revisions", "start")

    def __init__(self, start: int, revisions: list[int], changes: list[EncodedChange]) -> None:
        self.start = start
        self.revisions = revisions
        self.changes = changes
