"""Every error of the service as the client's exception."""

import pickle
from datetime import timedelta
from typing import Any, NamedTuple

import grpc
import mentorstatus_client as errors
import pytest
from mentorstatus_client import EventType, FieldViolation, MentorStatusSyncError
from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError, MentorNotFoundError
from mentorsync.rpc.errors import status_metadata, status_of
from mentorsync.rpc.grpcio import STATUS_CODES
from mentorsync.rpc.validation import FieldViolation as Violation
from mentorsync.rpc.validation import InvalidFieldsError
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError
from mentorsync.time_limits import BUSY_SECONDS

from tests.client.conftest import OpenClient, stored, target
from tests.rest.conftest import StubServer
from tests.server_process import ServerProcess, WriteLock, wait_until

ONE_ATTEMPT = (("grpc.enable_retries", 0),)
SECOND = timedelta(seconds=1)


class Row(NamedTuple):
    """What the client makes of an exception of the service."""

    raised: Exception
    kind: type[MentorStatusSyncError]
    reason: str
    is_retryable: bool = False
    delay: timedelta | None = None


BY_REASON = [
    Row(InvalidFieldsError([Violation("page", "is odd")]), errors.InvalidFieldError, "INVALID_FIELD"),
    Row(IdempotencyKeyReusedError(), errors.IdempotencyKeyReusedError, "IDEMPOTENCY_KEY_REUSED"),
    Row(MentorNotFoundError("mntr_1"), errors.MentorNotFoundError, "MENTOR_NOT_FOUND"),
    Row(EventNotFoundError("evt_1"), errors.EventNotFoundError, "EVENT_NOT_FOUND"),
    Row(OverloadedError(), errors.OverloadedError, "OVERLOADED", is_retryable=True, delay=SECOND),
    Row(StorageUnavailableError("down"), errors.StorageUnavailableError, "STORAGE_UNAVAILABLE", True, SECOND),
    Row(ZeroDivisionError(), errors.InternalError, "INTERNAL", is_retryable=True),
]
# Errors of the transport and of the gateway have a code alone.
BY_CODE = [
    (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgumentError, False),
    (grpc.StatusCode.NOT_FOUND, errors.NotFoundError, False),
    (grpc.StatusCode.UNAVAILABLE, errors.UnavailableError, True),
    (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError, True),
    (grpc.StatusCode.UNAUTHENTICATED, errors.UnauthenticatedError, False),
    (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDeniedError, False),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhaustedError, False),
    (grpc.StatusCode.INTERNAL, errors.InternalError, True),
    (grpc.StatusCode.UNIMPLEMENTED, MentorStatusSyncError, False),
]


async def failure(call: Any) -> MentorStatusSyncError:
    with pytest.raises(MentorStatusSyncError) as failed:
        await call
    return failed.value


def fail_as(error: Exception, request_id: str, context: grpc.ServicerContext) -> bytes:
    """Answers as the service answers this exception."""
    status = status_of(error)
    context.set_trailing_metadata(status_metadata(status, request_id))
    context.abort(STATUS_CODES[status.code], status.message)


@pytest.mark.parametrize("row", BY_REASON, ids=lambda row: row.reason)
async def test_each_reason_has_a_class(open_client: OpenClient, stub: StubServer, row: Row) -> None:
    """With the code, the reason, the request id, and the delay before a repetition."""
    stub.answer = lambda context: fail_as(row.raised, "request-1", context)
    error = await failure(open_client(target(stub), options=ONE_ATTEMPT).list_sync_events())
    status = status_of(row.raised)
    assert type(error) is row.kind
    assert (error.reason, error.request_id, error.retry_delay) == (row.reason, "request-1", row.delay)
    assert (error.is_retryable, error.code) == (row.is_retryable, STATUS_CODES[status.code])
    assert str(error) == f"{error.code.name} {row.reason}: {status.message} (request request-1)"


@pytest.mark.parametrize(("code", "kind", "is_retryable"), BY_CODE)
async def test_an_error_without_a_reason_has_the_class_of_its_code(
    open_client: OpenClient,
    stub: StubServer,
    code: grpc.StatusCode,
    kind: type[MentorStatusSyncError],
    is_retryable: bool,
) -> None:
    """Its request id is that which the client sent."""
    stub.answer = lambda context: context.abort(code, "refused")
    client = open_client(target(stub), options=ONE_ATTEMPT)
    error = await failure(client.list_sync_events(metadata={"x-request-id": "request-2"}))
    assert type(error) is kind
    assert (error.reason, error.message, error.request_id) == ("", "refused", "request-2")
    assert error.is_retryable is is_retryable


async def test_details_that_cannot_be_read_are_left_out(open_client: OpenClient, stub: StubServer) -> None:
    """The error has the class of its code."""

    def answer(context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    stub.answer = answer
    error = await failure(open_client(target(stub)).list_sync_events())
    assert type(error) is errors.NotFoundError


async def test_every_bad_field_is_named(client: Any) -> None:
    """The error has all violations, and the key of the submit."""
    error = await failure(client.submit_event("nobody", EventType.UNKNOWN, reason="\0", idempotency_key="k"))
    assert isinstance(error, errors.InvalidFieldError)
    assert [violation.field for violation in error.field_violations] == ["event_type", "mentor_id", "reason"]
    rule = 'must be "mntr_" followed by 1 to 40 of 0-9A-Za-z'
    assert error.field_violations[1] == FieldViolation("mentor_id", rule)
    assert error.idempotency_key == "k"


async def test_the_services_own_errors(client: Any, mentor_id: str) -> None:
    """From the real service, through Envoy."""
    assert type(await failure(client.get_mentor_status("mntr_unknown"))) is errors.MentorNotFoundError
    assert type(await failure(client.update_event("evt_unknown", acknowledged=True))) is errors.EventNotFoundError
    assert type(await failure(client.delete_event("evt_unknown"))) is errors.EventNotFoundError
    assert type(await failure(client.list_sync_events(page=0))) is errors.InvalidFieldError
    await client.submit_event(mentor_id, EventType.PAUSE, idempotency_key="one")
    reused = client.submit_event(mentor_id, EventType.RESUME, idempotency_key="one")
    assert type(await failure(reused)) is errors.IdempotencyKeyReusedError


async def test_a_submit_that_timed_out_is_repeated_with_its_key(
    open_client: OpenClient, service: ServerProcess, mentor_id: str
) -> None:
    """The event is recorded once, although the first call was written, after its deadline."""
    client = open_client(service.grpc)
    with WriteLock(service.database):  # the write must have begun by then, also on a busy machine
        error = await failure(client.submit_event(mentor_id, EventType.PAUSE, timeout=BUSY_SECONDS / 2))
    assert type(error) is errors.DeadlineExceededError
    assert error.is_retryable
    (late,) = wait_until(lambda: stored(service.database, mentor_id), "the write of the first call")
    repeated = await client.submit_event(mentor_id, EventType.PAUSE, idempotency_key=error.idempotency_key)
    assert stored(service.database, mentor_id) == [late] == [(repeated.sync_event_id,)]


def test_an_error_can_be_sent_to_another_process() -> None:
    """By pickle, as task queues do."""
    error = errors.InvalidFieldError(
        grpc.StatusCode.INVALID_ARGUMENT, "wrong", "INVALID_FIELD", "request-1", (FieldViolation("page", "is odd"),)
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), vars(copy)) == (type(error), vars(error))
