"""gRPC's length-prefixed messages in the body of an HTTP request.

See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from itertools import chain
from typing import Any, TypeAlias

from google.rpc import code_pb2

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Messages: TypeAlias = Iterator[Awaitable[Message]]  # of one request, in the order in which they arrive

MAX_MESSAGE_BYTES = 64 * 1024  # far more than the largest valid request
HEADER_BYTES = 5  # one byte that is 1 for a compressed message, and four for the message's length
COMPRESSED = 1


class ProtocolError(Exception):
    """A request that breaks gRPC's protocol, or uses a part of it that the service does not offer.

    The text and `code`, a google.rpc code, are for the caller. `http_status` is 200 unless the request is not a gRPC
    request.
    """

    def __init__(self, code: int, text: str, http_status: int = 200) -> None:
        super().__init__(text)
        self.code = code
        self.http_status = http_status


def requested(receive: Receive) -> Messages:
    """The messages of a request. The first is asked for at once, and each of the others when it is taken."""
    return chain((receive(),), iter(receive, None))


async def read_body(messages: Messages) -> bytes | None:
    """The body of an ASGI request, or None if the caller disconnected before the body was complete.

    Raises ProtocolError as soon as the body is longer than the largest message.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await next(messages)
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > HEADER_BYTES + MAX_MESSAGE_BYTES:
            raise _oversized()
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def only_message(body: bytes) -> bytes:
    """The one message in a body. Raises ProtocolError unless the body holds exactly one, whole and uncompressed."""
    length = int.from_bytes(body[1:HEADER_BYTES], "big")
    if body[:1] == b"\0" and len(body) == HEADER_BYTES + length:
        return body[HEADER_BYTES:]
    raise _fault(body, length)


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _fault(body: bytes, length: int) -> ProtocolError:
    if not body:
        return ProtocolError(code_pb2.UNIMPLEMENTED, "a unary call needs one request message, and there is none")
    if body[0] == COMPRESSED:
        return ProtocolError(code_pb2.UNIMPLEMENTED, "compressed messages are not supported: send them uncompressed")
    if body[0] > COMPRESSED:
        return ProtocolError(code_pb2.INTERNAL, "the first byte of a message must be 0")
    if length > MAX_MESSAGE_BYTES:
        return _oversized()
    if len(body) < HEADER_BYTES + length:
        return ProtocolError(code_pb2.INTERNAL, "the request ended in the middle of a message")
    return ProtocolError(code_pb2.UNIMPLEMENTED, "a unary call takes one request message, and there are more")


def _oversized() -> ProtocolError:
    return ProtocolError(code_pb2.RESOURCE_EXHAUSTED, f"a message may have at most {MAX_MESSAGE_BYTES} bytes")
