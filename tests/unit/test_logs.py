"""Log lines: JSON, in order, complete, and never in the way."""

import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from mentorsync import logs
from mentorsync.logs import JsonFormatter, LineWriter

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
    """Puts logging back as it was."""
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


def test_a_stream_that_is_stuck_blocks_nobody_and_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_logging_goes_to_standard_error_from_the_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Less severe records are not logged."""
    writer = logs.set_up("warning", sys.stderr)
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    writer.close()
    captured = capsys.readouterr()
    assert [json.loads(line)["event"] for line in captured.err.splitlines()] == ["loud"]
    assert captured.out == ""


def test_lines_that_could_not_be_written_are_counted() -> None:
    """After a full disk the writer goes on, and tells how many lines were lost."""
    stream = FullOnce()
    writer = LineWriter(stream)
    writer.write("lost")
    assert stream.has_failed.wait(WAIT_SECONDS)
    writer.write("written")
    writer.close()
    told, written = sorted(stream.getvalue().splitlines(), key=len, reverse=True)
    assert json.loads(told)["event"] == "1 log lines dropped"
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
