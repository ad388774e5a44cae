"""gRPC over ASGI: every request of a gRPC caller gets the outcome that a gRPC server gives, in gRPC's framing."""

import asyncio
import base64
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from google.rpc import code_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.errors import EventNotFoundError
from mentorsync.rpc.asgi import answer
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.frames import MAX_MESSAGE_BYTES, frame
from mentorsync.rpc.principal import Group, OneMentor

from tests.unit.service_harness import Harness

GET = "/mentorstatus.v1.MentorStatusSync/GetMentorStatus"
REQUEST = frame(pb.GetMentorStatusRequest(mentor_id="mntr_1").SerializeToString())
RESPONSE = pb.GetMentorStatusResponse(mentor_id="mntr_1")
LARGEST = frame(pb.GetMentorStatusRequest(mentor_id="x" * (MAX_MESSAGE_BYTES - 4)).SerializeToString())


async def succeed(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    return RESPONSE


async def never(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    await asyncio.Event().wait()
    raise AssertionError


class Answer(NamedTuple):
    """What the application sent: the HTTP status, the headers, the body, and the trailers or None."""

    http_status: int
    headers: dict[bytes, bytes]
    body: bytes
    trailers: dict[bytes, bytes] | None

    @property
    def outcome(self) -> dict[bytes, bytes]:
        """The headers that hold the outcome: the trailers, or without a message the headers themselves."""
        return self.headers if self.trailers is None else self.trailers

    @property
    def code(self) -> str:
        return str(code_pb2.Code.Name(int(self.outcome[b"grpc-status"])))

    @property
    def message(self) -> str:
        return unquote(self.outcome[b"grpc-message"].decode("ascii"))

    @property
    def status(self) -> status_pb2.Status:
        details = self.outcome[b"grpc-status-details-bin"]
        return status_pb2.Status.FromString(base64.b64decode(details + b"=" * (-len(details) % 4), validate=True))


async def call(harness: Harness, *parts: bytes | None, path: str = GET, method: str = "POST", **headers: str) -> Answer:
    """Sends a request whose body arrives in parts. None stands for a caller who disconnects."""
    return answer_of(await exchange(harness, *parts, path=path, method=method, **headers))


async def exchange(
    harness: Harness, *parts: bytes | None, path: str = GET, method: str = "POST", **headers: str
) -> list[Any]:
    """As `call`, but returns the messages that were sent."""
    given = {"content-type": "application/grpc", "te": "trailers"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    arriving: list[dict[str, Any]] = [
        {"type": "http.disconnect"} if part is None else {"type": "http.request", "body": part, "more_body": True}
        for part in parts
    ]
    arriving[-1]["more_body"] = False
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await answer(harness.service, scope, receive, send)
    return sent


def answer_of(sent: list[Any]) -> Answer:
    types = [message["type"].removeprefix("http.response.") for message in sent]
    start = sent[0]
    assert types == ["start", "body", "trailers"][: 3 if start.get("trailers") else 2]
    trailers = dict(sent[2]["headers"]) if start.get("trailers") else None
    return Answer(start["status"], dict(start["headers"]), sent[1]["body"], trailers)


def assert_refused(refused: Answer, code: str) -> None:
    """An error without a message, of which every part agrees with the others."""
    assert (refused.code, refused.body, refused.trailers) == (code, b"", None)
    assert refused.headers[b"content-type"] == b"application/grpc"
    assert refused.message
    status = refused.status
    assert (code_pb2.Code.Name(status.code), status.message) == (code, refused.message)


async def test_an_answer_is_one_message_and_trailers() -> None:
    """The trailers hold status 0 and the caller's request id."""
    harness = Harness(succeed)
    answered = await call(harness, REQUEST, x_request_id="request-1")
    assert answered.http_status == 200
    assert answered.headers == {b"content-type": b"application/grpc"}
    assert answered.body == frame(RESPONSE.SerializeToString())
    assert answered.trailers == {b"grpc-status": b"0", b"x-request-id": b"request-1"}
    assert harness.calls_counted("OK") == 1


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc; v=1"])
async def test_grpcs_content_types_are_accepted(content_type: str) -> None:
    """With and without the name of the encoding, or parameters."""
    assert (await call(Harness(succeed), REQUEST, content_type=content_type)).code == "OK"


async def test_the_body_may_arrive_in_parts() -> None:
    """Also when a part ends in the middle of the frame's header, and when the last part is empty."""
    answered = await call(Harness(succeed), REQUEST[:3], b"", REQUEST[3:7], REQUEST[7:], b"")
    assert answered.code == "OK"


async def test_the_largest_message_is_taken() -> None:
    """MAX_MESSAGE_BYTES is the last size that is accepted."""
    assert len(LARGEST) == 5 + MAX_MESSAGE_BYTES
    assert (await call(Harness(succeed), LARGEST)).code == "OK"


BAD_BODIES = {
    "no message": (b"", "UNIMPLEMENTED"),
    "two messages": (REQUEST * 2, "UNIMPLEMENTED"),
    "a byte after the message": (REQUEST + b"\0", "UNIMPLEMENTED"),
    "compressed": (b"\1" + REQUEST[1:], "UNIMPLEMENTED"),
    "a first byte that does not exist": (b"\7" + REQUEST[1:], "INTERNAL"),
    "half a header": (REQUEST[:3], "INTERNAL"),
    "half a message": (REQUEST[:-1], "INTERNAL"),
    "a message that is declared too large": (b"\0\xff\xff\xff\xff", "RESOURCE_EXHAUSTED"),
    "a message that is too large": (frame(b"\0" * (MAX_MESSAGE_BYTES + 1)), "RESOURCE_EXHAUSTED"),
    "not protobuf": (frame(b"\xff\xff\xff"), "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize(("body", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_anything_but_one_message_is_refused(body: bytes, code: str) -> None:
    """The refusal carries the request id, and says which encoding is accepted."""
    refused = await call(Harness(succeed), body, x_request_id="request-1")
    assert_refused(refused, code)
    assert refused.http_status == 200
    assert refused.headers[b"x-request-id"] == b"request-1"
    assert refused.headers[b"grpc-accept-encoding"] == b"identity"


async def test_reading_stops_once_the_message_is_too_large() -> None:
    """The rest of the body is not awaited: here it would never arrive."""
    harness = Harness(succeed)
    assert_refused(await call(harness, LARGEST, b"\0", None), "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    "path",
    [
        "/mentorstatus.v1.MentorStatusSync/UnknownMethod",
        "/mentorstatus.v1.MentorStatusSync/",
        "/mentorstatus.v1.Other/GetMentorStatus",
        "/GetMentorStatus",
        "GetMentorStatus/",
        "/grpc.health.v1.Health/Check",
        "",
    ],
)
async def test_an_unknown_method_is_refused_before_it_counts(path: str) -> None:
    """UNIMPLEMENTED. It leaves no line in the log of calls, and its name becomes no label of a metric."""
    harness = Harness(succeed)
    assert_refused(await call(harness, REQUEST, path=path), "UNIMPLEMENTED")
    metrics = list(harness.metrics.registry.collect())
    assert not [s for metric in metrics for s in metric.samples if s.name.startswith("mentorsync_call_duration")]
    assert harness.log_lines() == []


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "application/grpc-web", "application/grpc-web+proto", "application/grpcx"]
)
async def test_other_content_types_are_refused(content_type: str) -> None:
    """HTTP 415, as gRPC's protocol wants."""
    refused = await call(Harness(succeed), REQUEST, content_type=content_type)
    assert refused.http_status == 415
    assert_refused(refused, "INVALID_ARGUMENT")


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_other_http_methods_are_refused(method: str) -> None:
    """HTTP 405."""
    refused = await call(Harness(succeed), REQUEST, method=method)
    assert refused.http_status == 405
    assert_refused(refused, "INVALID_ARGUMENT")


@pytest.mark.parametrize("grpc_timeout", ["10m", "1n", "1u", "00000001m"])
async def test_a_call_ends_at_its_deadline(grpc_timeout: str) -> None:
    """DEADLINE_EXCEEDED, for the caller and in the log; the call itself is cancelled."""
    harness = Harness(never)
    refused = await call(harness, REQUEST, grpc_timeout=grpc_timeout, x_request_id="request-1")
    assert_refused(refused, "DEADLINE_EXCEEDED")
    assert refused.headers[b"x-request-id"] == b"request-1"
    assert [line["code"] for line in harness.log_lines()] == ["DEADLINE_EXCEEDED"]


async def test_the_deadline_holds_for_the_body_too() -> None:
    """A caller who sends half a request and then nothing is answered at the deadline."""
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/grpc"), (b"grpc-timeout", b"10m")]
    scope = {"type": "http", "method": "POST", "path": GET, "headers": headers}
    await answer(Harness(succeed).service, scope, receive, send)
    assert_refused(answer_of(sent), "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("grpc_timeout", ["1H", "1M", "99999999H", "60S"])
async def test_a_call_within_its_deadline_is_answered(grpc_timeout: str) -> None:
    """In every unit, up to the largest value."""
    assert (await call(Harness(succeed), REQUEST, grpc_timeout=grpc_timeout)).code == "OK"


async def test_a_deadline_of_zero_has_passed() -> None:
    """The call does not begin."""
    harness = Harness(succeed)
    assert_refused(await call(harness, REQUEST, grpc_timeout="0m"), "DEADLINE_EXCEEDED")
    assert harness.log_lines() == []


@pytest.mark.parametrize("grpc_timeout", ["", "1", "m", "-1m", "1.5S", "1s", "123456789m", "1m ", "\u0661m"])
async def test_a_malformed_timeout_is_refused(grpc_timeout: str) -> None:
    """INTERNAL, as grpcio does."""
    headers = {"grpc_timeout": grpc_timeout.encode().decode("latin-1")}
    assert_refused(await call(Harness(succeed), REQUEST, **headers), "INTERNAL")


async def test_a_method_gets_its_context() -> None:
    """Request id, every idempotency key, and the deadline."""
    contexts = []

    async def note(_request: pb.GetMentorStatusRequest, context: CallContext) -> pb.GetMentorStatusResponse:
        contexts.append(context)
        return RESPONSE

    harness = Harness(note)
    await call(harness, REQUEST, x_request_id="request-1", idempotency_key="k\xe9y", grpc_timeout="1H")
    await call(harness, REQUEST)
    first, second = contexts
    assert (first.request_id, first.idempotency_keys) == ("request-1", ["k\xe9y"])
    assert first.deadline is not None
    assert second.idempotency_keys == []
    assert second.deadline is None
    assert len(second.request_id) == 32


async def test_a_method_gets_the_principal_that_envoy_passed() -> None:
    """Without Envoy's headers it is anyone."""
    principals = []

    async def note(_request: pb.GetMentorStatusRequest, context: CallContext) -> pb.GetMentorStatusResponse:
        principals.append(context.principal)
        return RESPONSE

    harness = Harness(note)
    await call(harness, REQUEST)
    await call(harness, REQUEST, x_mentorsync_issuer="i", x_mentorsync_mentor_id="mntr_1")
    await call(harness, REQUEST, x_mentorsync_issuer="i", x_mentorsync_scope="mentorsync.admin")
    assert principals == [Group.ANYONE, OneMentor("mntr_1"), Group.ADMINISTRATOR]


async def test_an_error_carries_details_and_an_encoded_message() -> None:
    """The message is percent-encoded: line feeds, percent signs and text beyond ASCII survive."""

    async def not_found(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
        raise EventNotFoundError('Zoë\n100% "~"')

    refused = await call(Harness(not_found), REQUEST)
    assert_refused(refused, "NOT_FOUND")
    encoded = refused.headers[b"grpc-message"]
    assert b'sync_event_id Zo%C3%AB%0A100%25 "~" ' in encoded
    assert [detail.TypeName() for detail in refused.status.details] == ["google.rpc.ErrorInfo"]


async def test_a_caller_who_has_gone_gets_no_answer() -> None:
    """Nothing is sent when the request is given up before its body is complete."""
    harness = Harness(succeed)
    assert await exchange(harness, REQUEST[:3], None) == []
    assert harness.log_lines() == []
