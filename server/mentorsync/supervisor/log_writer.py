"""Writes the output of the supervisor and its parts on a thread of its own: a slow reader does not block them."""

import threading

from mentorsync.dropped_lines import DroppedLines
from mentorsync.log_text import Render
from mentorsync.logs import LineFile, dropped_notice

MAX_WAITING_BYTES = 4 * 1024 * 1024  # about a second of lines at full load; beyond this, lines are dropped


class LogWriter:
    """Takes whole lines without blocking, and writes them in order. It is the descriptor's only writer."""

    def __init__(self, descriptor: int, dropped_lines: DroppedLines, render: Render | None = None) -> None:
        self._file = LineFile(descriptor, render)
        self._dropped_lines = dropped_lines
        self._unreported = 0  # dropped lines that the log does not show yet
        self._waiting = bytearray()
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Takes lines, each with its line feed. Never blocks: if the buffer is full, lines are dropped and counted."""
        with self._changed:
            if len(self._waiting) + len(lines) > MAX_WAITING_BYTES:
                self._drop(lines.count(b"\n"))
                return
            self._waiting += lines
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Writes the waiting lines, for this long at most."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while lines := self._next():
            lost = self._file.write_lines(lines)
            if lost:
                with self._changed:
                    self._drop(lost)

    def _next(self) -> bytes:
        """Waits for lines. Returns nothing once the writer is closed and all is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            lines, self._waiting = bytes(self._waiting), bytearray()
            if lines and self._unreported:
                lines += dropped_notice(self._unreported).encode()
                self._unreported = 0
            return lines

    def _drop(self, lines: int) -> None:
        self._unreported += lines
        self._dropped_lines.add(lines)
