"""Removes old heads of the log, outside the batches."""

import time
from collections import deque
from typing import Any, NamedTuple

from peewee import PostgresqlDatabase

KEPT_SECONDS = 120.0  # far longer than a server tries to find out whether a COMMIT happened
MARK_SECONDS = 5.0  # between two revisions whose age is remembered
PAUSE_SECONDS = 10.0  # after a step that failed
TRIMMED_HEADS = 256  # in one step, which takes about a millisecond: the next write waits for it
COMMITS_BETWEEN_STEPS = 128  # fewer than TRIMMED_HEADS, so that the steps keep up with the commits
# Parameters: the last revision that was removed, the first that must be kept, the number of heads. Heads that another
# server is removing are left to that server. The newest head is never removed.
TRIM_HEADS = """
    WITH removed AS (
        DELETE FROM heads WHERE last_revision = ANY(ARRAY(
            SELECT last_revision FROM heads WHERE last_revision > %s
            AND last_revision < LEAST(%s, (SELECT last_revision FROM heads ORDER BY last_revision DESC LIMIT 1))
            ORDER BY last_revision LIMIT %s FOR UPDATE SKIP LOCKED
        )) RETURNING last_revision
    ) SELECT COUNT(*), MAX(last_revision) FROM removed
"""


class _Mark(NamedTuple):
    """A revision that was the newest at that moment. seconds: monotonic."""

    seconds: float
    revision: int


class HeadTrimmer:
    """Removes heads that are older than KEPT_SECONDS, a few at a time.

    This process's monotonic clock measures the age, so that a clock that is set forward removes nothing too early. Each
    step starts where the last one ended: otherwise it would read all removed heads again while an old snapshot is open.
    """

    def __init__(self, database: PostgresqlDatabase) -> None:
        self._database = database
        self._marks: deque[_Mark] = deque()
        self._kept_from = 0
        self._removed_to = -1
        self._commits = 0
        self._paused_until = 0.0

    def committed(self, last_revision: int) -> None:
        """Counts a batch, and runs a step once in COMMITS_BETWEEN_STEPS batches. Raises PostgreSQL's errors."""
        now = time.monotonic()
        if not self._marks or now - self._marks[-1].seconds >= MARK_SECONDS:
            self._marks.append(_Mark(now, last_revision))
        self._commits += 1
        if self._commits >= COMMITS_BETWEEN_STEPS:
            self.step()

    def step(self) -> None:
        """Removes up to TRIMMED_HEADS old heads. Raises PostgreSQL's errors."""
        now = time.monotonic()
        self._commits = 0
        while self._marks and now - self._marks[0].seconds >= KEPT_SECONDS:
            self._kept_from = self._marks.popleft().revision
        if self._removed_to + 1 >= self._kept_from or now < self._paused_until:
            return
        self._paused_until = now + PAUSE_SECONDS
        removed, last = self._remove()
        self._paused_until = 0.0
        self._removed_to = last if removed == TRIMMED_HEADS else self._kept_from - 1

    def _remove(self) -> tuple[int, int]:
        connection: Any = self._database.connection()
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(
                "SET LOCAL synchronous_commit = off"
            )  # a head that comes back after a crash does no harm
            removed = connection.execute(TRIM_HEADS, (self._removed_to, self._kept_from, TRIMMED_HEADS))
            connection.execute("COMMIT")
        count, last = removed.fetchone()
        return count, last
