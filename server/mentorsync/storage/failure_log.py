"""Logs a failure that repeats: once where it begins and once where it ends."""

import logging


class FailureLog:
    """Without it, an unavailable database would fill the log with hundreds of identical lines per second.

    `failure` and `recovery` are the texts of the two lines. Used by one thread.
    """

    def __init__(self, logger: logging.Logger, failure: str, recovery: str) -> None:
        self._logger = logger
        self._failure = failure
        self._recovery = recovery
        self.is_failing = False

    def fail(self, error: BaseException, *, with_traceback: bool = False) -> None:
        """Reports a failure. Only the first one since the last success is logged."""
        if not self.is_failing:
            self._logger.error("%s: %s", self._failure, error, exc_info=error if with_traceback else None)
        self.is_failing = True

    def succeed(self) -> None:
        """Reports a success. Only the first one since the last failure is logged."""
        if self.is_failing:
            self._logger.warning(self._recovery)
        self.is_failing = False
