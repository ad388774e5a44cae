"""What callers get for each exception."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2
from mentorstatus.v1 import error_reason_pb2
from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError, MentorNotFoundError
from mentorsync.feed.slots import TooManyStreamsError
from mentorsync.rpc.errors import ERRORS, is_expected, status_metadata, status_of
from mentorsync.rpc.principal import NotYourMentorError, TokenRequiredError
from mentorsync.rpc.validation import FieldViolation, InvalidFieldsError
from mentorsync.storage.errors import OverloadedError, StorageSetupError, StorageUnavailableError

RETRY_INFO = error_details_pb2.RetryInfo
BAD_REQUEST = error_details_pb2.BadRequest
SECRET = "SELECT /var/lib"  # noqa: S105 - text that no caller may see
# Exception, code, reason, details in addition to ErrorInfo, a part of the message.
TABLE: list[tuple[Exception, int, str | None, list[Any], str]] = [
    (
        InvalidFieldsError([FieldViolation("a", "must be b"), FieldViolation("c", "must be d")]),
        code_pb2.INVALID_ARGUMENT,
        "INVALID_FIELD",
        [BAD_REQUEST],
        "a must be b; c must be d",
    ),
    (DecodeError(SECRET), code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", [], "valid protobuf"),
    (IdempotencyKeyReusedError(SECRET), code_pb2.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED", [], "idempotency-key"),
    (TokenRequiredError(SECRET), code_pb2.UNAUTHENTICATED, "TOKEN_REQUIRED", [], "token"),
    (NotYourMentorError(SECRET), code_pb2.PERMISSION_DENIED, "NOT_YOUR_MENTOR", [], "mentor_id"),
    (MentorNotFoundError("mntr_1"), code_pb2.NOT_FOUND, "MENTOR_NOT_FOUND", [], "mentor_id mntr_1"),
    (EventNotFoundError("evt_1"), code_pb2.NOT_FOUND, "EVENT_NOT_FOUND", [], "sync_event_id evt_1"),
    (TooManyStreamsError("too many"), code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", [RETRY_INFO], "too many"),
    (OverloadedError(SECRET), code_pb2.UNAVAILABLE, "OVERLOADED", [RETRY_INFO], "retry later"),
    (StorageUnavailableError(SECRET), code_pb2.UNAVAILABLE, "STORAGE_UNAVAILABLE", [RETRY_INFO], "retry later"),
    (StorageSetupError(SECRET), code_pb2.INTERNAL, "INTERNAL", [], "internal error"),
    (RuntimeError(SECRET), code_pb2.INTERNAL, "INTERNAL", [], "internal error"),
]


@pytest.mark.parametrize(("error", "code", "reason", "details", "text"), TABLE, ids=lambda value: type(value).__name__)
def test_every_error_has_its_code_reason_and_details(
    error: Exception, code: int, reason: str, details: list[Any], text: str
) -> None:
    """Each exception gives the code, reason and details that the semantics name, and nothing of its own text."""
    status = status_of(error)
    assert status.code == code
    assert text in status.message
    assert SECRET not in str(status)
    assert type(error).__name__ not in str(status)
    expected = [error_details_pb2.ErrorInfo, *details]
    assert [detail.TypeName() for detail in status.details] == [kind.DESCRIPTOR.full_name for kind in expected]
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "mentorstatus")


def test_every_row_of_the_table_is_tested() -> None:
    """TABLE above covers every exception class that the service maps."""
    assert set(ERRORS) <= {type(row[0]) for row in TABLE}


def test_every_documented_reason_is_used() -> None:
    """The errors use exactly the reasons that error_reason.proto documents."""
    assert {row[2] for row in TABLE} == set(error_reason_pb2.ErrorReason.keys()[1:])


class LostConnectionError(StorageUnavailableError):
    """A subclass that has no row of its own."""


def test_a_subclass_of_a_mapped_error_gets_the_row_of_its_base_class() -> None:
    """It has the same status as its base class, and it is an expected error."""
    assert status_of(LostConnectionError(SECRET)) == status_of(StorageUnavailableError())
    assert is_expected(LostConnectionError())
    assert not is_expected(RuntimeError())


def test_all_field_violations_are_reported() -> None:
    """BadRequest names each bad field and says which values are valid."""
    status = status_of(InvalidFieldsError([FieldViolation("a", "must be b"), FieldViolation("c", "must be d")]))
    bad_request = BAD_REQUEST()
    status.details[1].Unpack(bad_request)
    violations = [(violation.field, violation.description) for violation in bad_request.field_violations]
    assert violations == [("a", "must be b"), ("c", "must be d")]


@pytest.mark.parametrize("error", [OverloadedError(), StorageUnavailableError(), TooManyStreamsError()])
def test_what_may_succeed_later_says_when_to_retry(error: Exception) -> None:
    """RetryInfo and the retry-after header give the same delay."""
    status = status_of(error)
    retry_info = RETRY_INFO()
    status.details[1].Unpack(retry_info)
    assert retry_info.retry_delay.seconds == 1
    assert ("retry-after", "1") in status_metadata(status, "r")


def test_errors_carry_details_and_request_id() -> None:
    """The metadata of an error holds the whole status and the request id; retry-after only comes with UNAVAILABLE."""
    status = status_of(EventNotFoundError("evt_1"))
    metadata = dict(status_metadata(status, "request-1"))
    assert metadata == {"grpc-status-details-bin": status.SerializeToString(), "x-request-id": "request-1"}


def test_a_missing_token_is_asked_for() -> None:
    """UNAUTHENTICATED names the scheme, as HTTP requires of a 401."""
    assert ("www-authenticate", "Bearer") in status_metadata(status_of(TokenRequiredError()), "r")
