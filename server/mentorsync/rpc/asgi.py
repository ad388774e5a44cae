"""The adapter to ASGI: gRPC's framing over HTTP, for a host that stands behind Envoy's transcoder.

See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import base64
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from google.rpc import status_pb2

from mentorsync.rpc.calls import CallContext
from mentorsync.rpc.errors import status_metadata
from mentorsync.rpc.service import SERVICE_NAME, Service, accepted_request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PATH_PREFIX = f"/{SERVICE_NAME}/"
FRAME_HEADER_BYTES = 5  # one for compression, which nothing here uses, and four for the message's length
CALL_TIMEOUT_SECONDS = 10.0  # what the router allows a call in envoy.yaml, where there is a router
CONTENT_TYPE = (b"content-type", b"application/grpc")
OK_TRAILERS: Headers = [(b"grpc-status", b"0")]


async def answer(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one unary call, whatever becomes of it."""
    context = _call_context(scope["headers"])
    frame = await _body(receive)
    name = scope["path"].removeprefix(PATH_PREFIX)
    reply = await service.invoke(name, frame[FRAME_HEADER_BYTES:], context)
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
    return CallContext(accepted_request_id(request_id), idempotency_keys, CALL_TIMEOUT_SECONDS)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _send_message(send: Send, payload: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [CONTENT_TYPE], "trailers": True})
    await send({"type": "http.response.body", "body": b"\0" + len(payload).to_bytes(4, "big") + payload})
    await send({"type": "http.response.trailers", "headers": OK_TRAILERS})


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
