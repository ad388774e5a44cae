"""A random writer."""

import asyncio
import random
from contextlib import suppress

import grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.feed.addresses import Addresses, channel_to
from tests.grpc_client import submit

MENTORS = [f"mntr_{number}" for number in range(8)]
KNOWN_EVENTS = 200  # that a writer changes: old ones are left to purges
PACE_SECONDS = 0.01  # at most, between two calls of one writer
RETRY_SECONDS = 0.02
CALL_SECONDS = 3.0  # a call to a frozen replica


class Writer:
    """Submits, acknowledges and deletes without an end, while `may_write` is set."""

    def __init__(self, addresses: Addresses, seed: int, may_write: asyncio.Event) -> None:
        self._addresses = addresses
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._may_write = may_write
        self._known: list[str] = []
        self.calls = 0
        self.is_idle = True

    async def run(self) -> None:
        while True:
            async with channel_to(self._addresses.grpc) as channel:
                with suppress(grpc.aio.AioRpcError):
                    await self._write_to(MentorStatusSyncStub(channel))
            self.is_idle = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _write_to(self, stub: MentorStatusSyncStub) -> None:
        while True:
            self.is_idle = True
            await self._may_write.wait()
            self.is_idle = False
            try:
                await self._write(stub)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:  # the event was purged
                    raise
            self.calls += 1
            await asyncio.sleep(self._random.uniform(0, PACE_SECONDS))

    async def _write(self, stub: MentorStatusSyncStub) -> None:
        choice = self._random.random()
        if not self._known or choice < 0.5:
            event_type = self._random.choice(pb.EventType.values()[1:])
            request = submit(self._random.choice(MENTORS), event_type)
            answer = await stub.SubmitEvent(request, timeout=CALL_SECONDS)
            self._known = [*self._known[-KNOWN_EVENTS:], answer.sync_event_id]
            return
        event = self._random.choice(self._known)
        if choice < 0.8:
            update = pb.UpdateEventRequest(sync_event_id=event, acknowledged=self._random.random() < 0.7)
            await stub.UpdateEvent(update, timeout=CALL_SECONDS)
        else:
            await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event), timeout=CALL_SECONDS)
