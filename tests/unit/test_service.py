"""What is around every call, whatever the transport: errors, log lines, metrics, request ids, deadlines."""

import asyncio
import io
import json
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.rpc import code_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.logs import LineWriter
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import CallContext, Calls
from mentorsync.rpc.service import Service, accepted_request_id

CONTEXT = CallContext("request-1", [])


class Harness:
    """A service whose GetMentorStatus does what the test says."""

    def __init__(self, call: Any) -> None:
        self._stream = io.StringIO()
        self._writer = LineWriter(self._stream)
        self.metrics = Metrics()
        names = ("list_sync_events", "get_mentor_status", "submit_event", "update_event", "delete_event")
        calls = cast("Calls", SimpleNamespace(**dict.fromkeys(names, call)))
        self.service = Service(calls, self.metrics, self._writer)

    async def get(self, payload: bytes = b"", context: CallContext = CONTEXT) -> bytes | status_pb2.Status:
        return await self.service.invoke("GetMentorStatus", payload, context)

    def calls_counted(self, code: str) -> float | None:
        labels = {"method": "GetMentorStatus", "code": code}
        return self.metrics.registry.get_sample_value("mentorsync_call_duration_seconds_count", labels)

    def log_lines(self) -> list[dict[str, Any]]:
        self._writer.close()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


async def succeed(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    return pb.GetMentorStatusResponse(mentor_id="mntr_1")


async def not_found(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    raise MentorNotFoundError("mntr_1")


async def fail(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    raise RuntimeError("SELECT secret")


async def never(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_call_is_logged_and_measured_once() -> None:
    """One line with method, code, duration and request id; one observation."""
    harness = Harness(succeed)
    assert await harness.get() == pb.GetMentorStatusResponse(mentor_id="mntr_1").SerializeToString()
    assert harness.calls_counted("OK") == 1
    (line,) = harness.log_lines()
    assert line.pop("time").endswith("Z")
    assert 0 <= line.pop("duration_ms") < 60_000
    assert line == {
        "level": "info",
        "event": "call",
        "method": "GetMentorStatus",
        "code": "OK",
        "request_id": "request-1",
    }


async def test_a_refusal_becomes_a_status() -> None:
    """A foreseen error is answered, logged as a call and no more."""
    harness = Harness(not_found)
    status = await harness.get()
    assert isinstance(status, status_pb2.Status)
    assert status.code == code_pb2.NOT_FOUND
    assert harness.calls_counted("NOT_FOUND") == 1
    assert [line["code"] for line in harness.log_lines()] == ["NOT_FOUND"]


async def test_an_unforeseen_error_is_logged_whole_and_told_as_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback goes to the log with the request id, and nothing of it to the caller."""
    harness = Harness(fail)
    with caplog.at_level(logging.ERROR):
        status = await harness.get()
    assert isinstance(status, status_pb2.Status)
    assert (status.code, status.message) == (code_pb2.INTERNAL, "internal error")
    assert b"secret" not in status.SerializeToString()
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "request-1"
    assert "SELECT secret" in caplog.text
    assert harness.calls_counted("INTERNAL") == 1


@pytest.mark.parametrize("payload", [b"\x0a\x05mntr", b"\x0a\x01\xff", b"\xff\xff\xff"])
async def test_bytes_that_are_no_message_are_invalid(payload: bytes) -> None:
    """Truncated bytes and text that is not UTF-8 are the caller's fault, told without a class name."""
    harness = Harness(succeed)
    status = await harness.get(payload)
    assert isinstance(status, status_pb2.Status)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert "DecodeError" not in str(status)


async def test_a_cancelled_call_stays_cancelled() -> None:
    """A caller that is gone gets no answer; the log still has its line."""
    harness = Harness(never)
    call = asyncio.create_task(harness.get())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert harness.calls_counted("CANCELLED") == 1
    assert [line["code"] for line in harness.log_lines()] == ["CANCELLED"]


@pytest.mark.parametrize("value", ["r", "a-b/c:d", "~" * 128, '"\\'])
def test_a_fit_request_id_is_taken_over(value: str) -> None:
    """Visible characters, up to 128."""
    assert accepted_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "a b", "ä", "~" * 129, "a\nb", "a\n"])
def test_an_unfit_request_id_is_replaced(value: str | None) -> None:
    """A log line cannot be forged through it."""
    new = accepted_request_id(value)
    assert len(new) == 32
    assert new != accepted_request_id(value)


async def test_a_request_id_with_quotes_stays_one_json_string() -> None:
    """What is taken over is still escaped."""
    harness = Harness(succeed)
    await harness.get(context=CONTEXT._replace(request_id='"\\'))
    assert harness.log_lines()[0]["request_id"] == '"\\'
