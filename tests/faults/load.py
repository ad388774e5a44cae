"""A load of clients that write without a pause, and a record of the answers."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import grpc
import httpx
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE
from tests.grpc_client import failure_of

CLIENTS = 8
MENTORS = 3
CALL_SECONDS = 9.5  # the deadline that the gateway sets
WAIT_SECONDS = 30.0  # far longer than any wait: a test fails instead of hanging
POLL_SECONDS = 0.01
RETRY_PAUSE_SECONDS = 0.05  # shorter than the delay in RetryInfo, to keep the load high


class UnavailableError(Exception):
    """The service answered that the caller should retry."""


class Submit(Protocol):
    """Submits an event and returns its id, or raises UnavailableError. Other exceptions are faults of the service."""

    def __call__(self, mentor_id: str, reason: str, key: str | None) -> Awaitable[str]: ...


class Answered(NamedTuple):
    reason: str
    sync_event_id: str


class Load:
    """A running load, with the outcomes of its submits.

    Half of the clients send idempotency keys and retry. The others send no keys and continue with the next submit.
    `name` is a prefix that distinguishes the submits of several loads.
    """

    def __init__(self, submit: Submit, name: str) -> None:
        self._submit = submit
        self._name = name
        self._stopping = False
        self.answered: list[Answered] = []
        self.unavailable: list[str] = []
        self.slowest = 0.0  # seconds of the slowest attempt

    @classmethod
    @asynccontextmanager
    async def running(cls, submit: Submit, name: str = "") -> AsyncIterator["Load"]:
        """Runs the load inside the block. An unexpected failure of a client ends the block."""
        load = cls(submit, name)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(load._client(number))
            try:
                await load.wait_for_answers()
                yield load
            finally:
                load._stopping = True

    async def wait_for_answers(self, count: int = 2 * CLIENTS, within: float = WAIT_SECONDS) -> None:
        """Waits for more answers: without a count, for two per client, on average."""
        await self._wait_for_more(self.answered, count, within)

    async def wait_for_refusals(self, within: float = WAIT_SECONDS) -> None:
        """Waits for one more UnavailableError per client, on average."""
        await self._wait_for_more(self.unavailable, CLIENTS, within)

    async def _wait_for_more(self, outcomes: Sequence[object], count: int, within: float) -> None:
        wanted = len(outcomes) + count
        async with asyncio.timeout(within):
            while len(outcomes) < wanted:
                await asyncio.sleep(POLL_SECONDS)

    async def _client(self, number: int) -> None:
        for count in itertools.count():
            if self._stopping:
                return
            reason = f"{self._name}{number}-{count}"
            await self._submit_until_answered(reason, reason if number % 2 else None)

    async def _submit_until_answered(self, reason: str, key: str | None) -> None:
        while True:
            started = time.monotonic()
            try:
                sync_event_id = await self._submit(f"mntr_{len(reason) % MENTORS}", reason, key)
            except UnavailableError as error:
                self.unavailable.append(f"{reason}: {error}")
                if key is None:
                    return  # the event may be stored or not
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            else:
                self.answered.append(Answered(reason, sync_event_id))
                return
            finally:
                self.slowest = max(self.slowest, time.monotonic() - started)


def grpc_submit(
    channels: Sequence[grpc.aio.Channel],
    *,
    seconds: float = CALL_SECONDS,
    may_time_out: bool = False,
    may_break: bool = False,
) -> Submit:
    """Submits over gRPC, over the channels in turn. Raises UnavailableError for errors that contain RetryInfo.

    seconds: the deadline of each call.
    may_time_out: raise it for calls that exceed their deadline too.
    may_break: raise it for UNAVAILABLE without RetryInfo too: a connection broke, or a gateway has no server.
    """
    stubs = itertools.cycle([MentorStatusSyncStub(channel) for channel in channels])

    async def submit(mentor_id: str, reason: str, key: str | None) -> str:
        request = pb.SubmitEventRequest(event_type=pb.PauseMentorEvent, mentor_id=mentor_id, reason=reason)
        metadata = (("idempotency-key", key),) if key else ()
        try:
            response = await next(stubs).SubmitEvent(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            timed_out = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            broke = error.code() is grpc.StatusCode.UNAVAILABLE
            failure = failure_of(error)
            if "RetryInfo" in failure.details:
                raise UnavailableError(failure.reason) from error
            if (may_time_out and timed_out) or (may_break and broke):
                raise UnavailableError from error
            raise
        return response.sync_event_id

    return submit


def rest_submit(client: httpx.AsyncClient, *, may_break: bool = False) -> Submit:
    """Submits over REST. Raises UnavailableError for 503 with Retry-After.

    may_break: raise it for connections that break too.
    """

    async def submit(mentor_id: str, reason: str, key: str | None) -> str:
        body = {"event_type": "PauseMentorEvent", "mentor_id": mentor_id, "reason": reason}
        headers = {"idempotency-key": key} if key else {}
        try:
            response = await send(client, "POST", f"{BASE}/events", json=body, headers=headers)
        except httpx.TransportError as error:
            if may_break:
                raise UnavailableError(repr(error)) from error
            raise
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and response.headers["retry-after"]:
            raise UnavailableError(response.text)
        assert response.status_code == httpx.codes.OK, (response.status_code, response.text)
        sync_event_id: str = response.json()["sync_event_id"]
        return sync_event_id

    return submit


async def send(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response:
    """Sends a request, on another connection if the kernel resets a new one.

    Nobody had accepted that connection yet: its listener was closed meanwhile. So the request was not taken.
    """
    while True:
        events: list[str] = []

        async def note(event: str, _info: object, events: list[str] = events) -> None:
            events.append(event)

        try:
            return await client.request(method, path, **request, extensions={"trace": note})
        except httpx.ReadError:
            if "connection.connect_tcp.complete" not in events:
                raise
        except httpx.ConnectError as error:
            if not _is_reset(error):
                raise


def _is_reset(error: BaseException | None) -> bool:
    return error is not None and (
        isinstance(error, ConnectionResetError) or _is_reset(error.__cause__ or error.__context__)
    )
