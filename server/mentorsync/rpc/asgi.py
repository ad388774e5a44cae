"""The adapter to ASGI: a gRPC server for unary and server-streaming calls inside an HTTP server.

REST requests arrive here as gRPC calls, from Envoy's transcoder. Every answer carries `x-request-id`, and every error
`grpc-status-details-bin`. See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import quote

from google.rpc import code_pb2, status_pb2

from mentorsync.rpc.context import CallContext, accepted_request_id, client_address
from mentorsync.rpc.errors import UNKNOWN_METHOD, status_metadata
from mentorsync.rpc.frames import (
    Message,
    Messages,
    ProtocolError,
    Receive,
    frame,
    only_message,
    read_body,
    requested,
)
from mentorsync.rpc.methods import Kind, Method
from mentorsync.rpc.principal import ISSUER_HEADER, MENTOR_ID_HEADER, SCOPE_HEADER, principal_of
from mentorsync.rpc.service import SERVICE_NAME, Service

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Reply: TypeAlias = bytes | status_pb2.Status

PATH_PREFIX = f"/{SERVICE_NAME}/"
CONTENT_TYPES = re.compile(rb"application/grpc(\+proto)?\s*(;.*)?")
CONTENT_TYPE = (b"content-type", b"application/grpc")
ACCEPTED_ENCODING = (b"grpc-accept-encoding", b"identity")  # only in errors: each header of an answer costs time
OK_START: Message = {"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE], "trailers": True}
OK_STATUS = (b"grpc-status", b"0")
UNENCODED = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # `quote` leaves these characters of grpc-message as they are, too
PRINCIPAL_HEADERS = tuple(name.encode() for name in (ISSUER_HEADER, MENTOR_ID_HEADER, SCOPE_HEADER))
TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
UNIT_SECONDS = {b"H": 3_600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
TIMER_SECONDS = 0.001  # uvloop may fire a timer this much early; a cancelled call must see that its deadline passed


def answer(service: Service, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
    """Answers one call, in the coroutine that it returns.

    The host begins to fetch the request's body at once, while the coroutine waits for its turn and reads the headers.
    It does so for known methods only: a caller of another one may wait for the answer before it sends anything.

    While a call runs, the service does not notice if its caller disconnects: with pyvoy 1.3.0, a `receive` that is
    pending while the answer is sent sometimes loses the answer. Deadlines and the bounded queue of writes limit what
    such calls cost.
    """
    method = service.methods.get(scope["path"].removeprefix(PATH_PREFIX))
    if method is None:
        return _refuse_unknown_method(scope, send)
    return _answer(service, method, scope, requested(receive), send)


async def _answer(service: Service, method: Method, scope: Scope, messages: Messages, send: Send) -> None:
    headers = dict(scope["headers"])
    request_id = _request_id(headers)
    try:
        context = _parse(scope, headers, request_id)
    except ProtocolError as error:
        await next(messages)  # it must not be pending while the answer is sent
        await _refuse(send, error, request_id)
        return
    for parsed in (headers, scope):
        parsed.clear()  # a stream would keep 3 KB of its request until it ends
    try:
        await ANSWERS[method.kind](service, method, context, messages, send)
    except ProtocolError as error:
        await _refuse(send, error, request_id)


async def _refuse_unknown_method(scope: Scope, send: Send) -> None:
    error = ProtocolError(code_pb2.UNIMPLEMENTED, UNKNOWN_METHOD)
    await _refuse(send, error, _request_id(dict(scope["headers"])))


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    return accepted_request_id(_text(headers.get(b"x-request-id")))


def _parse(scope: Scope, headers: Mapping[bytes, bytes], request_id: str) -> CallContext:
    """The context of a call. Raises ProtocolError."""
    _check_request(scope["method"], headers.get(b"content-type", b""))
    return CallContext(
        request_id,
        _idempotency_keys(scope, headers),
        _deadline(headers.get(b"grpc-timeout")),
        principal_of(*(_text(headers.get(name)) for name in PRINCIPAL_HEADERS)),
        client_address(_text(headers.get(b"x-forwarded-for")), ""),
        _text(headers.get(b"last-event-id")),
        _text(headers.get(b"traceparent")),
        _text(headers.get(b"tracestate")),
    )


async def _refuse(send: Send, error: ProtocolError, request_id: str) -> None:
    status = status_pb2.Status(code=error.code, message=str(error))
    await _send_error(send, status, request_id, error.http_status)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _idempotency_keys(scope: Scope, headers: Mapping[bytes, bytes]) -> list[str]:
    if b"idempotency-key" not in headers:
        return []
    return [value.decode("latin-1") for key, value in scope["headers"] if key == b"idempotency-key"]


def _check_request(http_method: str, content_type: bytes) -> None:
    if http_method != "POST":
        raise ProtocolError(code_pb2.INVALID_ARGUMENT, "a gRPC call is a POST request", 405)
    if content_type != b"application/grpc" and not CONTENT_TYPES.fullmatch(content_type):
        raise ProtocolError(code_pb2.INVALID_ARGUMENT, "the content type must be application/grpc", 415)


def _deadline(timeout: bytes | None) -> float | None:
    """The value of a grpc-timeout header as a deadline, in seconds of `time.monotonic()`."""
    if timeout is None:
        return None
    match = TIMEOUT.fullmatch(timeout)
    if match is None:
        raise ProtocolError(code_pb2.INTERNAL, "grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n")
    seconds = int(match[1]) * UNIT_SECONDS[match[2]]
    if not seconds:
        raise _deadline_exceeded()
    return time.monotonic() + seconds


async def _answer_unary(service: Service, method: Method, context: CallContext, messages: Messages, send: Send) -> None:
    reply = _reply(service, method, context, messages)
    result = await (reply if context.deadline is None else _until(context.deadline, reply))
    if isinstance(result, bytes):
        try:
            await _send_message(send, result, context.request_id)
        except OSError:
            service.log_undelivered(method, context.request_id)
            raise
    elif result is not None:
        await _send_error(send, result, context.request_id)


async def _answer_streaming(
    service: Service, method: Method, context: CallContext, messages: Messages, send: Send
) -> None:
    body = await read_body(messages)
    if body is None:
        return
    has_started = False

    def send_message(message: bytes) -> Awaitable[None]:
        nonlocal has_started
        chunk: Message = {"type": "http.response.body", "body": frame(message), "more_body": True}
        if has_started:
            return send(chunk)  # not awaited here, so that a chunk costs no coroutine
        has_started = True
        return send_first(chunk)

    async def send_first(chunk: Message) -> None:
        await send(OK_START)
        await send(chunk)

    status = await service.stream(method, only_message(body), context, send_message)
    with suppress(OSError):  # the caller has disconnected, which is what ended the stream
        if status and not has_started:
            await _send_error(send, status, context.request_id)
        else:
            await _end_stream(send, status, context.request_id)


async def _end_stream(send: Send, status: status_pb2.Status | None, request_id: str) -> None:
    outcome = [(b"grpc-status", str(status.code).encode())] if status else [OK_STATUS]
    await send({"type": "http.response.body", "body": b""})
    await send({"type": "http.response.trailers", "headers": [*outcome, (b"x-request-id", request_id.encode())]})


ANSWERS = {Kind.UNARY: _answer_unary, Kind.SERVER_STREAMING: _answer_streaming}


async def _reply(service: Service, method: Method, context: CallContext, messages: Messages) -> Reply | None:
    """The reply to the request's message, or None if the caller disconnected before the request was complete."""
    body = await read_body(messages)
    return None if body is None else await service.invoke(method, only_message(body), context)


async def _until(deadline: float, reply: Awaitable[Reply | None]) -> Reply | None:
    """The reply, or ProtocolError when the deadline passes first."""
    try:
        async with asyncio.timeout_at(deadline + TIMER_SECONDS):
            return await reply
    except TimeoutError:
        raise _deadline_exceeded() from None


def _deadline_exceeded() -> ProtocolError:
    return ProtocolError(code_pb2.DEADLINE_EXCEEDED, "the deadline has passed")


async def _send_message(send: Send, message: bytes, request_id: str) -> None:
    await send(OK_START)
    await send({"type": "http.response.body", "body": frame(message)})
    await send({"type": "http.response.trailers", "headers": [OK_STATUS, (b"x-request-id", request_id.encode())]})


async def _send_error(send: Send, status: status_pb2.Status, request_id: str, http_status: int = 200) -> None:
    # Everything is in the headers ("trailers-only"). For an error in trailers, without a message before them, the
    # transcoder would answer 404 with an empty body.
    headers = [
        CONTENT_TYPE,
        ACCEPTED_ENCODING,
        (b"grpc-status", str(status.code).encode()),
        (b"grpc-message", quote(status.message, safe=UNENCODED).encode()),
    ]
    headers += [(key.encode(), _header_value(value)) for key, value in status_metadata(status, request_id)]
    await send({"type": "http.response.start", "status": http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header_value(value: str | bytes) -> bytes:
    return base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode()
