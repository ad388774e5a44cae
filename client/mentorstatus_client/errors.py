"""The errors of calls: a class for each gRPC code, and under it one for each reason that programs tell apart."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "mentorstatus"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is missing or malformed, and the rule that it breaks."""

    field: str
    description: str


@dataclass(eq=False)
class MentorStatusSyncError(Exception):
    """A call failed.

    reason: the ErrorReason's name, or "" if the error is not from the service itself but from the transport.
    request_id: finds the call in the service's log. All attempts of a call have the same one.
    retry_delay: how long the service asks callers to wait before they repeat the call, if it does.
    idempotency_key: the key of a failed submit. Pass it on to repeat the submit without recording the event twice.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    request_id: str = ""
    field_violations: tuple[FieldViolation, ...] = ()
    retry_delay: timedelta | None = None
    idempotency_key: str | None = None

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.code in RETRYABLE or self.retry_delay is not None

    def __str__(self) -> str:
        name = f"{self.code.name} {self.reason}".rstrip()
        return f"{name}: {self.message} (request {self.request_id})"


class InvalidArgumentError(MentorStatusSyncError):
    """The request is not valid, and would fail again."""


class InvalidFieldError(InvalidArgumentError):
    """At least one field is missing or malformed. `field_violations` names each."""


class IdempotencyKeyReusedError(InvalidArgumentError):
    """The key was used before for this mentor with another payload. Nothing was written."""


class NotFoundError(MentorStatusSyncError):
    """The mentor or the event is not known."""


class MentorNotFoundError(NotFoundError):
    """No event has been submitted for the mentor yet."""


class EventNotFoundError(NotFoundError):
    """The event never existed, was deleted, or was purged."""


class UnavailableError(MentorStatusSyncError):
    """The service could not be reached, also not by retries. A write may have taken effect."""


class OverloadedError(UnavailableError):
    """Too many calls are waiting. Nothing was written."""


class StorageUnavailableError(UnavailableError):
    """The service cannot reach its database. A write may have taken effect."""


class DeadlineExceededError(MentorStatusSyncError):
    """There was no answer in time. A write may have taken effect."""


class UnauthenticatedError(MentorStatusSyncError):
    """The token is missing, expired or not valid."""


class PermissionDeniedError(MentorStatusSyncError):
    """The token is valid, but does not allow this call."""


class ResourceExhaustedError(MentorStatusSyncError):
    """Too many requests (then `retry_delay` may be set), or a message that is too large."""


class InternalError(MentorStatusSyncError):
    """An unexpected error in the service, whose log has the cause under the request id."""


RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}
BY_REASON: dict[str, type[MentorStatusSyncError]] = {
    "INVALID_FIELD": InvalidFieldError,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReusedError,
    "MENTOR_NOT_FOUND": MentorNotFoundError,
    "EVENT_NOT_FOUND": EventNotFoundError,
    "OVERLOADED": OverloadedError,
    "STORAGE_UNAVAILABLE": StorageUnavailableError,
}
BY_CODE: dict[grpc.StatusCode, type[MentorStatusSyncError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.INTERNAL: InternalError,
}


def error_of(error: Any, sent: Iterable[tuple[str, str]]) -> MentorStatusSyncError:
    """The client's error for one of grpc's. `sent` is the metadata of the call."""
    received = dict(error.trailing_metadata() or ())
    info, bad_request, retry = _details(received.get("grpc-status-details-bin", b""))
    reason = info.reason if info.domain == DOMAIN else ""
    code = error.code()
    kind = BY_REASON.get(reason) or BY_CODE.get(code, MentorStatusSyncError)
    metadata = dict(sent)
    return kind(
        code,
        error.details() or "",
        reason,
        received.get("x-request-id", metadata["x-request-id"]),
        tuple(FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations),
        retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        metadata.get("idempotency-key"),
    )


def _details(packed_status: bytes) -> tuple[Any, Any, Any]:
    """The details of a google.rpc.Status. Those that are not there, or cannot be read, are empty."""
    found = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    with suppress(DecodeError):
        for packed in status_pb2.Status.FromString(packed_status).details:
            for detail in found:
                packed.Unpack(detail)
    return found
