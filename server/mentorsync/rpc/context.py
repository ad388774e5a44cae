"""The context of a call: everything that it gets in addition to its request message."""

import re
import secrets
from typing import NamedTuple

from mentorsync.rpc.principal import Group, Principal

REQUEST_ID = re.compile(r"[!-~]{1,128}")  # visible ASCII, and short enough for a log line


class CallContext(NamedTuple):
    """The context of one call.

    `idempotency_keys` holds every value of that metadata key. `deadline` is in seconds of `time.monotonic()`, or None.
    `client_address`, for streams, is what the gateway saw, or the other end of the connection. `last_event_id` is the
    header with which a browser continues a stream.
    `traceparent` and `tracestate` are the caller's headers, unchecked: https://www.w3.org/TR/trace-context/

    Cancellation: the adapter cancels the task that runs the call, and the call then ends with asyncio.CancelledError at
    its next `await`. The grpcio adapter cancels when the caller cancels and when the deadline passes; the ASGI adapter
    cancels when the deadline passes. A write whose batch has begun is still stored.
    """

    request_id: str
    idempotency_keys: list[str]
    deadline: float | None = None
    principal: Principal = Group.ANYONE
    client_address: str = ""
    last_event_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


def accepted_request_id(value: str | None) -> str:
    """The caller's request id if it is fit for a log line, else a new one."""
    if value is not None and REQUEST_ID.fullmatch(value):
        return value
    return secrets.token_hex(16)


def client_address(forwarded_for: str | None, peer: str) -> str:
    """The address that the gateway saw: it adds it to x-forwarded-for. Without a gateway it is the peer's."""
    return forwarded_for.rpartition(",")[2].strip() if forwarded_for else peer
