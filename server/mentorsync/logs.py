"""JSON log lines, written by a thread of their own: a slow terminal or pipe must not block the event loop."""

import json
import logging
import threading
import time
from functools import lru_cache
from typing import TextIO

FLUSH_SECONDS = 0.05  # lines may be this late; written together they cost far less than one by one
MAX_WAITING_LINES = 10_000  # beyond this, lines are dropped and counted: memory is worth more than log lines


def timestamp(seconds: float) -> str:
    """Seconds since the Unix epoch as RFC 3339, in milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1_000), 1_000)
    return f"{_whole_second(whole)}.{milliseconds:03}Z"


@lru_cache(1)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class LineWriter:
    """Takes lines at no cost and writes them to a stream soon after, in order.

    A line may be any object: its text is asked for by the writer's thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[object] = []
        self._dropped = 0
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: object) -> None:
        if len(self._lines) >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self) -> None:
        """Writes what waits, then stops."""
        self._closed.set()
        self._waiting.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._waiting.wait()
            self._closed.wait(FLUSH_SECONDS)  # lets lines gather
            self._waiting.clear()
            self._flush()
        self._flush()  # what came in during the last flush

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            line = {"time": timestamp(time.time()), "level": "warning", "event": f"{dropped} log lines dropped"}
            lines.append(json.dumps(line))
        if lines:
            try:
                self._stream.write("\n".join(map(str, lines)) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a reader that is gone: told as soon as somebody can be told
                self._dropped += len(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, pid, event, and the request id and traceback where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": record.getMessage(),
        }
        if hasattr(record, "request_id"):
            fields["request_id"] = record.request_id
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class LineHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self.format(record))


def set_up(level: str, stream: TextIO) -> LineWriter:
    """Sends all logging of this process to a stream as JSON lines, and returns the writer of the lines."""
    writer = LineWriter(stream)
    logging.basicConfig(level=level.upper(), handlers=[LineHandler(writer)], force=True)
    return writer
