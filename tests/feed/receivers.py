"""Receivers of the live feed, over both transports, which show the same steps."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import grpc
import httpx
from google.protobuf.json_format import MessageToDict
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE

SECONDS = 20  # longer than any wait of a test


class Step(NamedTuple):
    """One message or event of a stream. `data` is in the shape of the JSON, also over gRPC."""

    kind: str
    data: Any
    cursor: str


class Receiver(Protocol):
    async def step(self) -> Step:
        """The next step. Raises StopAsyncIteration at the end."""


class SseReceiver:
    """`raw` has all lines that came."""

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self.raw: list[str] = []
        self._lines = aiter(response.aiter_lines())

    async def step(self) -> Step:
        fields: dict[str, str] = {}
        comment = ""
        while True:
            line = await anext(self._lines)
            self.raw.append(line)
            name, _, value = line.partition(":")
            if line.startswith(":"):
                comment = value.strip()
            elif line:
                fields[name] = value.removeprefix(" ")
            elif fields.keys() - {"retry"}:
                data = json.loads(fields["data"]) if "data" in fields else None
                return Step(fields.get("event", comment), data, fields.get("id", ""))


class GrpcReceiver:
    """A message with several changes gives as many steps; the last one has the cursor."""

    def __init__(self, call: Any) -> None:
        self._messages = aiter(call)
        self._waiting: list[Step] = []

    async def step(self) -> Step:
        if not self._waiting:
            self._waiting = _steps(await anext(self._messages))
        return self._waiting.pop(0)


def _steps(message: pb.WatchSyncEventsResponse) -> list[Step]:
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    kind = fields["kind"].lower().replace("_", "-")
    if kind == "changes":
        changes = fields["changes"]
        return [Step("change", change, "") for change in changes[:-1]] + [Step("change", changes[-1], fields["cursor"])]
    data = {
        "reset": {"reason": fields["reset_reason"]},
        "snapshot": fields.get("snapshot"),
        "present": {"changes": fields["changes"]},
        "heartbeat": None,
    }
    return [Step(kind, data.get(kind, {}), fields["cursor"])]


@asynccontextmanager
async def sse(url: str, headers: Mapping[str, str] | None = None, **query: Any) -> AsyncIterator[SseReceiver]:
    async with (
        httpx.AsyncClient(timeout=SECONDS) as client,
        client.stream("GET", f"{url}{BASE}/watch", params=query, headers=headers) as response,
    ):
        if response.status_code != httpx.codes.OK:
            await response.aread()
            response.raise_for_status()
        assert response.headers["content-type"] == "text/event-stream"  # a browser takes nothing else
        yield SseReceiver(response)


@asynccontextmanager
async def watch(channel: grpc.aio.Channel, **fields: Any) -> AsyncIterator[GrpcReceiver]:
    call = MentorStatusSyncStub(channel).WatchSyncEvents(pb.WatchSyncEventsRequest(**fields))
    try:
        yield GrpcReceiver(call)
    finally:
        call.cancel()


async def steps_until(receiver: Receiver, kind: str, count: int = 1) -> list[Step]:
    """All steps up to and with so many of a kind, without heartbeats (unless these are the kind)."""
    steps: list[Step] = []
    while sum(step.kind == kind for step in steps) < count:
        step = await receiver.step()
        if step.kind != "heartbeat" or kind == "heartbeat":
            steps.append(step)
    return steps


async def all_steps(receiver: Receiver) -> list[Step]:
    """The steps up to the end of the stream."""
    steps = []
    try:
        while True:
            steps.append(await receiver.step())
    except StopAsyncIteration:
        return steps
