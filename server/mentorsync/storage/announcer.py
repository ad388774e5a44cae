"""The work that follows a commit: metrics, checkpoints, the watch on the clock."""

import logging
from collections.abc import Callable, Iterable

from mentorsync.storage.failure_log import FailureLog
from mentorsync.storage.store import Commit

FAILURE = "work after a commit failed; the commit itself is complete"
RECOVERY = "the work after commits succeeds again"
CLOCK_AHEAD_SECONDS = 60  # an operator must know when a stored time is further ahead of the clock than this

logger = logging.getLogger(__name__)


class Announcer:
    """Calls every listener after each commit.

    The commit is complete and its callers have their answers, so a listener's failure changes nothing: it is logged,
    and the other listeners are still called.
    """

    def __init__(self, listeners: Iterable[Callable[[Commit], None]]) -> None:
        self._listeners = [(listener, FailureLog(logger, FAILURE, RECOVERY)) for listener in listeners]

    def announce(self, commit: Commit) -> None:
        for listener, failures in self._listeners:
            try:
                listener(commit)
            except Exception as error:  # noqa: BLE001 - no exception of a listener may stop the writer
                failures.fail(error, with_traceback=True)
            else:
                failures.succeed()


class ClockWatch:
    """Warns once when the newest stored time is far ahead of the clock. `ahead_seconds` is for the metrics."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def on_commit(self, commit: Commit) -> None:
        was_ahead = self.ahead_seconds > CLOCK_AHEAD_SECONDS
        self.ahead_seconds = max(commit.clock_ahead / 1_000_000, 0.0)
        if self.ahead_seconds > CLOCK_AHEAD_SECONDS and not was_ahead:
            logger.warning(
                "the newest stored time is %.0f s ahead of the clock: new events get that same time until the clock "
                "has reached it; check the machine's clock",
                self.ahead_seconds,
            )
