"""JSON log lines, written by a thread of their own: a slow terminal or pipe must not block the service."""

import json
import logging
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from mentorsync.log_text import Render
from mentorsync.time_limits import FLUSH_SECONDS

GATHER_SECONDS = 0.05  # lines may be this late; written together they cost far less than one by one
MAX_WAITING_LINES = 10_000  # beyond this, lines are dropped and counted, so that memory stays bounded
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
COMPACT = (",", ":")  # as Envoy writes JSON, so that all lines have one shape
DESCRIPTOR_VARIABLE = "MENTORSYNC_LOG_DESCRIPTOR"  # from the supervisor: where the embedded service writes


def timestamp(seconds: float) -> str:
    """Seconds since the Unix epoch as RFC 3339, in milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1_000), 1_000)
    return f"{_whole_second(whole)}.{milliseconds:03}Z"


@lru_cache(1)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class LineFile:
    """Writes whole lines to a descriptor, without Python's buffers.

    A thread that hangs while it writes a buffer would keep the process from ending.
    """

    def __init__(self, descriptor: int, render: Render | None = None) -> None:
        """`render` turns the JSON lines into what is written. Without it they are written as they are."""
        self._descriptor = descriptor
        self._render = render
        self._begun = b""  # the rest of a line that an error cut off; it is written first when writing works again

    def write(self, text: str) -> None:
        """Raises OSError if a line could not be written."""
        if self.write_lines(text.encode(errors="backslashreplace")):
            raise OSError("lines could not be written")

    def write_lines(self, lines: bytes) -> int:
        """Writes lines, each with its line feed. Returns how many could not be written."""
        data = self._begun + (self._render(lines) if self._render else lines)
        written = self._write_some(data)
        is_cut = data[written - 1 : written] != b"\n" if written else bool(self._begun)
        end_of_cut = data.find(b"\n", written) + 1 if is_cut and written < len(data) else written
        self._begun = data[written:end_of_cut]
        return data.count(b"\n", end_of_cut)

    def _write_some(self, data: bytes) -> int:
        """Writes until all is written or an error comes. Returns the number of bytes written."""
        view = memoryview(data)
        written = 0
        with suppress(OSError):  # such as a full disk, or a pipe whose reader has ended
            while written < len(data):
                written += self._write_once(view[written:])
        return written

    def _write_once(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another process has made it non-blocking
            select.select([], [self._descriptor], [])
            return 0


class Writable(Protocol):
    def write(self, text: str, /) -> object: ...


class LineWriter:
    """Takes lines from any thread without blocking. A thread of its own writes them soon after, in order.

    A line may be any object: the thread converts it to text.
    """

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        # Lines are taken out one by one: a list that is replaced while another thread appends to it would lose a line.
        self._lines: deque[object] = deque()
        self._drop_lock = threading.Lock()  # guards the two counts
        self._unreported = 0  # dropped lines that the log does not show yet
        self.dropped = 0
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: object) -> None:
        if len(self._lines) >= MAX_WAITING_LINES:
            self._drop(1)
            return
        self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self) -> None:
        """Writes the waiting lines for a bounded time, then stops."""
        self._closed.set()
        self._waiting.set()
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._waiting.wait()
            self._closed.wait(GATHER_SECONDS)
            self._waiting.clear()
            self._flush()
        self._flush()  # lines that arrived during the last flush

    def _flush(self) -> None:
        take = self._lines.popleft
        text = "".join([f"{take()}\n" for _ in range(len(self._lines))])
        with self._drop_lock:
            unreported, self._unreported = self._unreported, 0
        if unreported:
            text += dropped_notice(unreported)
        if text:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self._drop(text.count("\n"))

    def _drop(self, lines: int) -> None:
        with self._drop_lock:
            self._unreported += lines
            self.dropped += lines


def dropped_notice(lines: int) -> str:
    """The line that reports how many lines were dropped before it."""
    return notice(__name__, f"{lines} log lines dropped")


def notice(logger: str, event: str) -> str:
    """A line about the log itself."""
    fields = {
        "time": timestamp(time.time()),
        "level": "warning",
        "logger": logger,
        "pid": os.getpid(),
        "event": event,
    }
    return json.dumps(fields, separators=COMPACT) + "\n"


def print_without_waiting(text: str) -> None:
    """Prints a line on standard output without blocking the caller. If the reader hangs, the line is lost."""
    line = f"{text}\n".encode()
    threading.Thread(target=LineFile(STANDARD_OUTPUT).write_lines, args=(line,), daemon=True).start()


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
        return json.dumps(fields, separators=COMPACT)


class LineHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self.format(record))


def set_up(level: str, descriptor: int, render: Render | None = None) -> LineWriter:
    """Sends all logging of this process to a descriptor, as JSON lines unless `render` turns them into text. Returns
    the writer of the lines.

    The descriptor must stay open until the process ends: another file that got its number would get the lines.
    """
    writer = LineWriter(LineFile(descriptor, render))
    logging.basicConfig(level=level.upper(), handlers=[LineHandler(writer)], force=True)
    return writer
