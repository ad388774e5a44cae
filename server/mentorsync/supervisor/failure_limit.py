"""Bounds the log lines about refused and aborted requests. Otherwise an attacker decides how fast the log grows."""

import time
from collections.abc import Callable

from mentorsync.logs import notice

MAX_LINES = 100  # in each second: far more than mistaken callers cause
WINDOW_SECONDS = 1.0


class FailureLimit:
    """Passes on all lines about answered calls and other events, and a limited number of lines about failed calls.

    One line reports how many were left out, with the first lines that come after their second.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()
        self._passed = 0
        self._left_out = 0

    def limit(self, lines: bytes) -> bytes:
        """Takes and returns whole lines, each with its line feed."""
        report = self._next_window() if self._now() - self._begun >= WINDOW_SECONDS else b""
        return report + b"".join(line for line in lines.splitlines(keepends=True) if self._passes(line))

    def report(self) -> bytes:
        """The line about what was left out since the last report, if anything was."""
        left_out, self._left_out = self._left_out, 0
        if not left_out:
            return b""
        return notice(__name__, f"{left_out} log lines about refused or aborted requests left out").encode()

    def _next_window(self) -> bytes:
        self._begun = self._now()
        self._passed = 0
        return self.report()

    def _passes(self, line: bytes) -> bool:
        if not _is_failed_call(line):
            return True
        if self._passed >= MAX_LINES:
            self._left_out += 1
            return False
        self._passed += 1
        return True


def _is_failed_call(line: bytes) -> bool:
    """Whether a line is about a call that was not answered as its caller wanted.

    A caller's own text in a line cannot look like the texts below, because its quotes are escaped.
    """
    if b'"event":"request"' in line:  # the gateway's line about a REST request
        return b'"status":2' not in line or b'"flags":"-"' not in line
    if b'"event":"call"' in line:  # the service's line, or the gateway's about a gRPC call
        is_answered = b'"code":"OK"' in line or (b'"grpc_status":"OK"' in line and b'"flags":"-"' in line)
        return not is_answered
    return b'"event":"caller disconnected"' in line
