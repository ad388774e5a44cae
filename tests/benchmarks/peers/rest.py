"""The five endpoints as a FastAPI application. It opens its storage at startup and closes it at shutdown."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from google.rpc import code_pb2
from mentorsync.domain.errors import DomainError, EventNotFoundError, IdempotencyKeyReusedError, MentorNotFoundError
from mentorsync.domain.operations import DeleteOperation, SubmitOperation, UpdateOperation
from mentorsync.rpc.validation import DEFAULT_LIMIT, MAX_LIMIT

from tests.benchmarks.peers import rest_messages as messages
from tests.benchmarks.peers.storage import Storage
from tests.contract import BASE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OpenStorage = Callable[[], AbstractAsyncContextManager[Storage]]
SyncEventId = Annotated[messages.SyncEventId, Path()]
DOMAIN_ERRORS: dict[type[DomainError], tuple[int, int, str]] = {
    MentorNotFoundError: (404, code_pb2.NOT_FOUND, "mentor_id has no event yet"),
    EventNotFoundError: (404, code_pb2.NOT_FOUND, "sync_event_id names no event, or a deleted event"),
    IdempotencyKeyReusedError: (400, code_pb2.INVALID_ARGUMENT, "idempotency-key was used before with another payload"),
}


def build_app(open_storage: OpenStorage) -> FastAPI:
    """Every handler awaits the storage. A storage with blocking calls runs them in its own threads."""
    storage: Storage

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        nonlocal storage
        async with open_storage() as storage:
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_exception_handler(DomainError, domain_error_response)
    app.add_exception_handler(RequestValidationError, validation_error_response)

    @app.get(BASE)
    async def list_sync_events(
        page: Annotated[int, Query(ge=1)] = 1,
        limit: Annotated[int, Query(ge=1)] = DEFAULT_LIMIT,
        mentor_id: messages.MentorId | None = None,
    ) -> messages.ListResponse:
        limit = min(limit, MAX_LIMIT)
        return messages.ListResponse.of(await storage.reads.page(page, limit, mentor_id), page, limit)

    @app.get(BASE + "/{mentor_id}")
    async def get_mentor_status(mentor_id: Annotated[messages.MentorId, Path()]) -> messages.StatusResponse:
        return messages.StatusResponse.of(await storage.reads.snapshot(mentor_id))

    @app.post(BASE + "/events")
    async def submit_event(
        request: messages.SubmitRequest,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[!-~]{1,64}$")] = None,
    ) -> messages.SubmitResponse:
        operation = SubmitOperation(
            request.mentor_id,
            messages.DOMAIN_EVENT_TYPES[request.event_type],
            request.reason,
            None if request.client_timestamp is None else nanoseconds(request.client_timestamp),
            idempotency_key,
        )
        return messages.SubmitResponse.of(await storage.writes.write(operation))

    @app.put(BASE + "/events/{sync_event_id}")
    async def update_event(sync_event_id: SyncEventId, request: messages.UpdateRequest) -> messages.UpdateResponse:
        if request.acknowledged is None and request.reason is None:
            raise RequestValidationError([{"loc": ("acknowledged",), "msg": "or reason must be given"}])
        event = await storage.writes.write(UpdateOperation(sync_event_id, request.acknowledged, request.reason))
        return messages.UpdateResponse(
            sync_event_id=sync_event_id,
            acknowledged=event.acknowledged,
            reason=event.reason,
            updated_at=messages.published_time(event.updated_at),
        )

    @app.delete(BASE + "/events/{sync_event_id}")
    async def delete_event(sync_event_id: SyncEventId) -> messages.DeleteResponse:
        event = await storage.writes.write(DeleteOperation(sync_event_id))
        deleted_at = messages.published_time(event.updated_at)
        return messages.DeleteResponse(sync_event_id=sync_event_id, deleted=True, deleted_at=deleted_at)

    return app


def nanoseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1) * 1_000


async def domain_error_response(_request: Request, error: Exception) -> JSONResponse:
    http_status, code, message = DOMAIN_ERRORS[type(error)]  # type: ignore[index]  # registered for DomainError only
    return JSONResponse({"code": code, "message": message, "details": []}, http_status)


async def validation_error_response(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    message = "; ".join(f"{'.'.join(map(str, violation['loc']))} {violation['msg']}" for violation in error.errors())
    return JSONResponse({"code": code_pb2.INVALID_ARGUMENT, "message": message, "details": []}, 400)
