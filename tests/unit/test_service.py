"""What the service adds to every call on every transport: errors, log lines, metrics, request ids."""

import asyncio
import logging
import time

import pytest
from google.rpc import code_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.rpc.context import CallContext, accepted_request_id
from mentorsync.rpc.principal import Group, OneMentor, Principal

from tests.unit.service_harness import CONTEXT, Harness


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
        "logger": "calls",
        "event": "call",
        "method": "GetMentorStatus",
        "code": "OK",
        "request_id": "request-1",
    }


async def test_a_call_that_the_gateway_logs_is_only_measured() -> None:
    """In the one-process mode, the gateway's line is the only one."""
    harness = Harness(succeed, logs_calls=False)
    assert isinstance(await harness.get(), bytes)
    assert harness.calls_counted("OK") == 1
    assert not harness.log_lines()


async def test_a_refusal_becomes_a_status() -> None:
    """An expected error is answered with its code. The log has the line of the call and nothing else."""
    harness = Harness(not_found)
    status = await harness.get()
    assert isinstance(status, status_pb2.Status)
    assert status.code == code_pb2.NOT_FOUND
    assert harness.calls_counted("NOT_FOUND") == 1
    assert [line["code"] for line in harness.log_lines()] == ["NOT_FOUND"]


async def test_an_unexpected_error_is_logged_in_full_and_hidden_from_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has the traceback and the request id. The caller gets neither the text nor the class of the exception."""
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


async def test_a_call_without_a_token_is_refused_where_one_is_required() -> None:
    """UNAUTHENTICATED, before the request is decoded. The refusal is logged and counted like any other."""
    harness = Harness(fail, requires_token=True)
    status = await harness.get(b"\xff")
    assert isinstance(status, status_pb2.Status)
    assert status.code == code_pb2.UNAUTHENTICATED
    assert harness.calls_counted("UNAUTHENTICATED") == 1
    assert [line["code"] for line in harness.log_lines()] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("principal", [Group.ADMINISTRATOR, Group.NOBODY, OneMentor("mntr_1")])
async def test_a_call_with_a_token_is_answered(principal: Principal) -> None:
    """The calls themselves decide what a token reaches."""
    harness = Harness(succeed, requires_token=True)
    assert isinstance(await harness.get(context=CONTEXT._replace(principal=principal)), bytes)


@pytest.mark.parametrize("payload", [b"\x0a\x05mntr", b"\x0a\x01\xff", b"\xff\xff\xff"])
async def test_bytes_that_are_not_a_message_are_invalid(payload: bytes) -> None:
    """Truncated bytes and text that is not UTF-8 give INVALID_ARGUMENT, without a class name in the message."""
    harness = Harness(succeed)
    status = await harness.get(payload)
    assert isinstance(status, status_pb2.Status)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert "DecodeError" not in str(status)


@pytest.mark.parametrize(
    ("deadline", "code"),
    [(None, "CANCELLED"), (1e9, "CANCELLED"), (time.monotonic(), "DEADLINE_EXCEEDED")],
    ids=["none", "later", "passed"],
)
async def test_a_cancelled_call_stays_cancelled(deadline: float | None, code: str) -> None:
    """A caller who has given up gets no answer. The log has the call's line, which shows if the deadline had passed."""
    harness = Harness(never)
    call = asyncio.create_task(harness.get(context=CONTEXT._replace(deadline=deadline)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert harness.calls_counted(code) == 1
    assert [line["code"] for line in harness.log_lines()] == [code]


async def test_several_event_loops_may_use_one_service() -> None:
    """Each on a thread of its own. Every call is answered and counted."""
    harness = Harness(succeed)

    async def call_often() -> int:
        return len([await harness.get() for _ in range(500)])

    answered = await asyncio.gather(*(asyncio.to_thread(asyncio.run, call_often()) for _ in range(4)))
    assert sum(answered) == harness.calls_counted("OK") == 2_000


@pytest.mark.parametrize("value", ["r", "a-b/c:d", "~" * 128, '"\\'])
def test_a_valid_request_id_is_kept(value: str) -> None:
    """Up to 128 visible ASCII characters."""
    assert accepted_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "a b", "ä", "~" * 129, "a\nb", "a\n"])
def test_an_invalid_request_id_is_replaced(value: str | None) -> None:
    """A caller cannot forge a log line through the request id."""
    new = accepted_request_id(value)
    assert len(new) == 32
    assert new != accepted_request_id(value)


async def test_a_request_id_with_quotes_stays_one_json_string() -> None:
    """A request id that is kept is still escaped in the log."""
    harness = Harness(succeed)
    await harness.get(context=CONTEXT._replace(request_id='"\\'))
    assert harness.log_lines()[0]["request_id"] == '"\\'
