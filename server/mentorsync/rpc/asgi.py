"""The adapter to ASGI: gRPC's framing over HTTP, for a host that stands behind Envoy's transcoder.

See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import base64
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from google.rpc import code_pb2, status_pb2

from mentorsync.rpc.context import CallContext, accepted_request_id
from mentorsync.rpc.errors import status_metadata
from mentorsync.rpc.service import SERVICE_NAME, Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PATH_PREFIX = f"/{SERVICE_NAME}/"
FRAME_HEADER_BYTES = 5  # one for compression, which nothing here uses, and four for the message's length
UNDECODABLE = b"\0"  # field number 0 does not exist
CONTENT_TYPE = (b"content-type", b"application/grpc")
OK_START: Message = {"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE], "trailers": True}
OK_TRAILERS: Message = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}

UNKNOWN_METHOD = status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message="the service has no such method")


async def answer(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one unary call.

    Whether the caller still waits is not watched: with pyvoy 1.3.0, a `receive` that is pending while the answer is
    sent loses the answer now and then. The time limit and the bounded queue limit what an abandoned call can cost.
    """
    frame = await _body(receive)
    if frame is None:  # the gateway has refused the request itself meanwhile
        return
    context = _call_context(scope["headers"])
    method = service.methods.get(scope["path"].removeprefix(PATH_PREFIX))
    if method is None:
        await _send_error(send, UNKNOWN_METHOD, context.request_id)
        return
    reply = await service.invoke(method, _message(frame), context)
    if isinstance(reply, bytes):
        await _send_message(send, reply)
    else:
        await _send_error(send, reply, context.request_id)


def _call_context(headers: Headers) -> CallContext:
    request_id = None
    idempotency_keys = []
    for key, value in headers:
        if key == b"x-request-id":
            request_id = value.decode("latin-1")
        elif key == b"idempotency-key":
            idempotency_keys.append(value.decode("latin-1"))
    return CallContext(accepted_request_id(request_id), idempotency_keys)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when the request was given up before it was complete."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _message(frame: bytes) -> bytes:
    """A frame's message. One cut short, or compressed, becomes what no protobuf decoder takes."""
    is_whole = (
        frame[:1] == b"\0" and int.from_bytes(frame[1:FRAME_HEADER_BYTES], "big") == len(frame) - FRAME_HEADER_BYTES
    )
    return frame[FRAME_HEADER_BYTES:] if is_whole else UNDECODABLE


async def _send_message(send: Send, payload: bytes) -> None:
    await send(OK_START)
    await send({"type": "http.response.body", "body": b"\0" + len(payload).to_bytes(4, "big") + payload})
    await send(OK_TRAILERS)


async def _send_error(send: Send, status: status_pb2.Status, request_id: str) -> None:
    # Trailers-only: after headers and without a message, the transcoder would answer 404 with an empty body.
    headers = [
        CONTENT_TYPE,
        (b"grpc-status", str(status.code).encode()),
        (b"grpc-message", quote(status.message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()),
    ]
    headers += [(key.encode(), _header_value(value)) for key, value in status_metadata(status, request_id)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header_value(value: str | bytes) -> bytes:
    return base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode()
