"""The limit for log lines about refused and aborted requests."""

import json
from typing import Any

import pytest
from mentorsync.supervisor.failure_limit import MAX_LINES, FailureLimit

ABORTED = b'{"event":"request","flags":"DR","status":0}\n'
ANSWERED = b'{"event":"request","flags":"-","status":200}\n'


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def messages(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_lines_over_the_limit_are_left_out_and_counted() -> None:
    """Each second passes the same number, and begins with a line about what was left out before."""
    clock = Clock()
    limit = FailureLimit(clock)
    assert limit.limit(ABORTED * (MAX_LINES + 3)) == ABORTED * MAX_LINES
    assert limit.limit(ABORTED * 2) == b""
    clock.seconds = 1.0
    notice, *passed = messages(limit.limit(ABORTED * (MAX_LINES + 1)))
    assert (notice["level"], notice["event"]) == (
        "warning",
        "5 log lines about refused or aborted requests left out",
    )
    assert len(passed) == MAX_LINES
    (last,) = messages(limit.report())
    assert last["event"].startswith("1 log lines")
    assert limit.report() == b""


@pytest.mark.parametrize(
    "line",
    [
        ANSWERED,
        b'{"event":"call","flags":"-","grpc_status":"OK","path":"/x"}\n',
        b'{"event":"call","method":"GetMentorStatus","code":"OK"}\n',
        b'{"event":"serving again: writes work"}\n',
        b"a line that is not JSON\n",
    ],
)
def test_other_lines_always_pass(line: bytes) -> None:
    """Answered calls and events of the service are not limited."""
    assert FailureLimit(Clock()).limit(line * 2 * MAX_LINES) == line * 2 * MAX_LINES


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"caller disconnected","method":"SubmitEvent","code":"OK"}\n',
        b'{"event":"request","flags":"-","status":404,"user_agent":"\\"status\\":200"}\n',
        b'{"event":"request","flags":"DC","status":200}\n',
        b'{"event":"call","flags":"-","grpc_status":"Unavailable","path":"/x"}\n',
        b'{"event":"call","method":"GetMentorStatus","code":"CANCELLED"}\n',
    ],
)
def test_lines_about_failed_calls_are_limited(line: bytes) -> None:
    """A caller cannot pass a failed call off as an answered one."""
    assert FailureLimit(Clock()).limit(line * 2 * MAX_LINES) == line * MAX_LINES
