"""The one table that maps exceptions to google.rpc.Status."""

from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mentorstatus.v1 import error_reason_pb2 as reasons

from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError, MentorNotFoundError
from mentorsync.feed.slots import TooManyStreamsError
from mentorsync.rpc.principal import NotYourMentorError, TokenRequiredError
from mentorsync.rpc.validation import InvalidFieldsError
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError

DOMAIN = "mentorstatus"
RETRY_DELAY_SECONDS = 1
RETRIED = (code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED)  # a later attempt may succeed
UNKNOWN_METHOD = "there is no such service or method"


class ErrorRow(NamedTuple):
    """The answer to one class of exceptions: the gRPC code, the reason, and a function that makes the message."""

    code: int
    reason: "reasons.ErrorReason.ValueType"
    message: Callable[[Exception], str]


def _text_of(error: Exception) -> str:
    return str(error)


def _always(text: str) -> Callable[[Exception], str]:
    return lambda _error: text


ERRORS: dict[type[Exception], ErrorRow] = {
    InvalidFieldsError: ErrorRow(code_pb2.INVALID_ARGUMENT, reasons.INVALID_FIELD, _text_of),
    DecodeError: ErrorRow(
        code_pb2.INVALID_ARGUMENT,
        reasons.INVALID_FIELD,
        _always("the request must be a valid protobuf message, with text in UTF-8"),
    ),
    IdempotencyKeyReusedError: ErrorRow(
        code_pb2.INVALID_ARGUMENT,
        reasons.IDEMPOTENCY_KEY_REUSED,
        _always("idempotency-key was used before for this mentor with another payload: use a new key for a new event"),
    ),
    TokenRequiredError: ErrorRow(
        code_pb2.UNAUTHENTICATED, reasons.TOKEN_REQUIRED, _always("this service requires a valid token")
    ),
    NotYourMentorError: ErrorRow(
        code_pb2.PERMISSION_DENIED,
        reasons.NOT_YOUR_MENTOR,
        _always("the token must name this mentor in its claim mentor_id, or have the scope mentorsync.admin"),
    ),
    MentorNotFoundError: ErrorRow(
        code_pb2.NOT_FOUND, reasons.MENTOR_NOT_FOUND, lambda error: f"mentor_id {error} has no event yet"
    ),
    EventNotFoundError: ErrorRow(
        code_pb2.NOT_FOUND,
        reasons.EVENT_NOT_FOUND,
        lambda error: f"sync_event_id {error} does not exist or was deleted",
    ),
    OverloadedError: ErrorRow(
        code_pb2.UNAVAILABLE,
        reasons.OVERLOADED,
        _always("too many calls are waiting: nothing was written, retry later"),
    ),
    TooManyStreamsError: ErrorRow(code_pb2.RESOURCE_EXHAUSTED, reasons.TOO_MANY_WATCHES, _text_of),
    StorageUnavailableError: ErrorRow(
        code_pb2.UNAVAILABLE, reasons.STORAGE_UNAVAILABLE, _always("the database is unavailable: retry later")
    ),
}
UNEXPECTED = ErrorRow(code_pb2.INTERNAL, reasons.INTERNAL, _always("internal error"))


def is_expected(error: Exception) -> bool:
    """Whether the table has a row for this exception's class or one of its base classes."""
    return _row_of(error) is not UNEXPECTED


def status_of(error: Exception) -> status_pb2.Status:
    """The status that callers get for an exception. Without a row, it is INTERNAL and does not reveal the cause."""
    row = _row_of(error)
    status = status_pb2.Status(code=row.code, message=row.message(error))
    _add(status, error_details_pb2.ErrorInfo(reason=reasons.ErrorReason.Name(row.reason), domain=DOMAIN))
    if isinstance(error, InvalidFieldsError):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.rule)
            for violation in error.violations
        ]
        _add(status, error_details_pb2.BadRequest(field_violations=violations))
    if row.code in RETRIED:
        _add(status, error_details_pb2.RetryInfo(retry_delay=Duration(seconds=RETRY_DELAY_SECONDS)))
    return status


def status_metadata(status: status_pb2.Status, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of an error, in addition to its code and message."""
    metadata: tuple[tuple[str, str | bytes], ...] = (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("x-request-id", request_id),
    )
    if any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details):
        metadata += (("retry-after", str(RETRY_DELAY_SECONDS)),)  # the gateway makes it the HTTP header
    if status.code == code_pb2.UNAUTHENTICATED:
        metadata += (("www-authenticate", "Bearer"),)  # as above
    return metadata


def _row_of(error: Exception) -> ErrorRow:
    """The row of the exception's class, or of its nearest base class that has one."""
    return next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), UNEXPECTED)


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)
