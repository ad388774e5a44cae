"""Functions for tests that call the service over gRPC."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

SERVICE = "mentorstatus.v1.MentorStatusSync"
CALL_SECONDS = 20  # far longer than any call: a test fails instead of hanging
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)  # by default, channels to one address share a connection
Connect = Callable[[str], grpc.aio.Channel]
DETAILS = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)


def open_channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=OWN_CONNECTION)


class Failure(NamedTuple):
    """The error of a call: its status, its details by name, and the rest of its trailing metadata."""

    code: grpc.StatusCode
    message: str
    details: dict[str, Any]
    metadata: dict[str, str | bytes]

    @property
    def reason(self) -> str:
        assert self.details["ErrorInfo"].domain == "mentorstatus"
        reason: str = self.details["ErrorInfo"].reason
        return reason


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata.pop("grpc-status-details-bin", b""))
    details = {}
    for packed in status.details:
        for kind in DETAILS:
            detail = kind()
            if packed.Unpack(detail):
                details[kind.DESCRIPTOR.name] = detail
    if status.code:
        assert (status.code, status.message) == (error.code().value[0], error.details())
    return Failure(error.code(), error.details() or "", details, metadata)


async def failure(call: Any) -> Failure:
    """The error of a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"answered instead of failing: {answer}")


def submit(mentor_id: str, event_type: int = pb.PauseMentorEvent, **fields: Any) -> pb.SubmitEventRequest:
    return pb.SubmitEventRequest(mentor_id=mentor_id, event_type=event_type, **fields)  # type: ignore[arg-type]  # any number can be sent


def key(value: str) -> dict[str, Any]:
    """The arguments of a call with an idempotency key."""
    return {"metadata": (("idempotency-key", value),), "timeout": CALL_SECONDS}
