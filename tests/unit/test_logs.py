"""Log lines: JSON, in order, complete, and written without blocking the caller."""

import errno
import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from mentorsync import logs
from mentorsync.logs import JsonFormatter, LineFile, LineWriter

WAIT_SECONDS = 10


class BlockedStream(io.StringIO):
    """A stream whose writes wait to be released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = Event()
        self.released = Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.released.wait(WAIT_SECONDS)
        return super().write(text)


@pytest.fixture
def root_logging() -> Iterator[None]:
    """Restores the settings of logging."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


def test_lines_come_out_in_order_and_complete() -> None:
    """Closing writes what still waits."""
    stream = io.StringIO()
    writer = LineWriter(stream)
    for number in range(1_000):
        writer.write(str(number))
    writer.close()
    assert stream.getvalue().splitlines() == [str(number) for number in range(1_000)]


def test_a_line_written_while_others_are_flushed_is_not_lost() -> None:
    """Closing writes also what came in during the last flush."""
    stream = BlockedStream()
    writer = LineWriter(stream)
    writer.write("first")
    assert stream.entered.wait(WAIT_SECONDS)
    writer.write("last")
    closing = Thread(target=writer.close)
    closing.start()
    stream.released.set()
    closing.join()
    assert stream.getvalue().splitlines() == ["first", "last"]


class InterruptedWriter(LineWriter):
    """Flushes once between two steps of `write`: it has the collection of lines, and has not added its line yet."""

    accesses_left = 0  # the flush comes after the last of them

    @property
    def _lines(self) -> Any:
        lines = self.__dict__["lines"]
        self.accesses_left -= 1
        if self.accesses_left == 0:
            self._flush()
        return lines

    @_lines.setter
    def _lines(self, lines: Any) -> None:
        self.__dict__["lines"] = lines


def test_a_flush_in_the_middle_of_a_write_loses_no_line() -> None:
    """Calls on several event loops write lines while the writer's thread flushes."""
    stream = io.StringIO()
    writer = InterruptedWriter(stream)
    writer.accesses_left = 2  # `write` looks at the number of lines, then adds one
    writer.write("only")
    assert writer.accesses_left < 0
    writer.close()
    assert stream.getvalue() == "only\n"


def test_a_stuck_stream_blocks_no_caller_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines beyond the bound are dropped and counted."""
    monkeypatch.setattr(logs, "MAX_WAITING_LINES", 2)
    stream = BlockedStream()
    writer = LineWriter(stream)
    writer.write("first")
    assert stream.entered.wait(WAIT_SECONDS)
    for text in ("second", "third", "fourth", "fifth"):
        writer.write(text)
    stream.released.set()
    writer.close()
    *lines, warning = stream.getvalue().splitlines()
    assert lines == ["first", "second", "third"]
    assert json.loads(warning)["event"] == "2 log lines dropped"
    assert writer.dropped == 2


def test_a_record_is_one_line_of_json() -> None:
    """Message, level, logger, process, request id and traceback are fields; line feeds do not break the line."""
    try:
        int("of\nno value")
    except ValueError:
        record = logging.LogRecord("a.logger", logging.ERROR, "", 0, "x\n%s", ("y",), sys.exc_info())
    record.request_id = "request-1"
    line = JsonFormatter().format(record)
    fields = json.loads(line)
    assert "\n" not in line
    assert fields.pop("time").endswith("Z")
    assert "ValueError: invalid literal" in fields.pop("traceback")
    assert fields.pop("pid") == os.getpid()
    assert fields == {"level": "error", "logger": "a.logger", "event": "x\ny", "request_id": "request-1"}


@pytest.mark.usefixtures("root_logging")
def test_logging_goes_to_the_stream_from_the_level_on(tmp_path: Path) -> None:
    """Less severe records are not logged."""
    path = tmp_path / "log"
    with path.open("w") as stream:
        writer = logs.set_up("warning", stream.fileno())
        logging.getLogger("a").info("quiet")
        logging.getLogger("a").warning("loud")
        writer.close()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["loud"]


def test_lines_that_could_not_be_written_are_counted() -> None:
    """After a full disk the writer continues, and reports how many lines were lost."""
    stream = FullOnce()
    writer = LineWriter(stream)
    writer.write("lost")
    assert stream.has_failed.wait(WAIT_SECONDS)
    writer.write("written")
    writer.close()
    notice, written = sorted(stream.getvalue().splitlines(), key=len, reverse=True)
    assert json.loads(notice)["event"] == "1 log lines dropped"
    assert written == "written"


class FullOnce(io.StringIO):
    """A stream whose first write fails."""

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = Event()

    def write(self, text: str) -> int:
        if not self.has_failed.is_set():
            self.has_failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_closing_does_not_wait_for_a_stuck_reader() -> None:
    """Nobody reads the pipe, which is full: the lines are given up."""
    reading, writing = os.pipe()
    writer = LineWriter(LineFile(writing))
    writer.write("x" * 1_000_000)
    started = time.monotonic()
    writer.close()
    assert time.monotonic() - started < WAIT_SECONDS
    os.close(reading)  # frees the thread


def test_a_line_that_an_error_cut_is_completed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that were not begun are lost, and no two lines are joined."""
    disk = FullDisk(room=8)
    monkeypatch.setattr(os, "write", disk.write)
    file = LineFile(99)
    assert file.write_lines(b"first\nsecond\nthird\n") == 1
    disk.room = 100
    assert file.write_lines(b"fourth\n") == 0
    assert disk.content == b"first\nsecond\nfourth\n"


class FullDisk:
    """A file that takes as many bytes as there is room for, and then fails."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = b""

    def write(self, _descriptor: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.content += taken
        return len(taken)
