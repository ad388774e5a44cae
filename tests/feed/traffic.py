"""Random writers and random receivers of one service, which go on through all faults."""

import asyncio
import random
from asyncio import Task
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync.feed.cursor import Cursor

from tests.conftest import OWN_CONNECTION
from tests.feed.history import History, Opened
from tests.feed.receivers import Receiver, Step, sse, watch
from tests.grpc_client import submit

MENTORS = [f"mntr_{number}" for number in range(8)]
KNOWN_EVENTS = 200  # that a writer changes: old ones are left to purges
PACE_SECONDS = 0.01  # at most, between two calls of one writer
RETRY_SECONDS = 0.02
CALL_SECONDS = 3.0  # a call to a frozen replica
SILENCE_SECONDS = 2.0  # five heartbeats: a receiver whose stream is silent for longer connects again
RESUME_SECONDS = 30.0  # for all attempts
FAILURES = (httpx.TransportError, httpx.HTTPStatusError, grpc.aio.AioRpcError, StopAsyncIteration, TimeoutError)


class Addresses:
    """Where the service is: it may come back at other addresses."""

    def __init__(self) -> None:
        self.rest = ""
        self.grpc = ""


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


class Watcher:
    """One receiver. Each of its connections is over a random transport, and begins at the last cursor.

    Like a browser, it keeps its cursor through a RESET, until it gets a new one.
    """

    def __init__(self, addresses: Addresses, seed: int) -> None:
        self._addresses = addresses
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        some = frozenset(self._random.sample(MENTORS, self._random.randint(1, 3)))
        mentor_ids = self._random.choice((frozenset[str](), some))
        self.history = History(mentor_ids, self._random.random() < 0.2, [])
        self.cursor = ""
        self._connection: Task[None] | None = None

    @property
    def position(self) -> tuple[int, int]:
        """The epoch and the revision of the last cursor."""
        return Cursor.parse(self.cursor)[:2] if self.cursor else (0, 0)

    async def run(self) -> None:
        while True:
            self._connection = asyncio.ensure_future(self._receive())
            await asyncio.wait((self._connection,))
            if not self._connection.cancelled() and (error := self._connection.exception()):
                raise error
            await asyncio.sleep(RETRY_SECONDS)

    def cut(self) -> None:
        """Loses the connection."""
        if self._connection is not None:
            self._connection.cancel()

    def forget(self) -> None:
        """Begins another history at the last cursor."""
        self.history = self.history._replace(entries=[Opened(self.cursor)])

    async def _receive(self) -> None:
        history = self.history
        history.entries.append(Opened(self.cursor))
        with suppress(*FAILURES):
            async with self.opened(self.cursor) as receiver:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        step = await receiver.step()
                    self.history.entries.append(step)
                    self.cursor = step.cursor or self.cursor

    async def steps_from(self, cursor: str) -> list[Opened | Step]:
        """What another connection gets that begins at a cursor, up to where it has no more.

        It may meet a replica that is just being started again, and then connects once more.
        """
        async with asyncio.timeout(RESUME_SECONDS):
            while True:
                steps: list[Opened | Step] = [Opened(cursor)]
                with suppress(*FAILURES):
                    async with self.opened(cursor) as receiver:
                        while not (isinstance(steps[-1], Step) and steps[-1].kind in {"current", "heartbeat"}):
                            async with asyncio.timeout(SILENCE_SECONDS):
                                steps.append(await receiver.step())
                    return steps
                await asyncio.sleep(RETRY_SECONDS)

    @asynccontextmanager
    async def opened(self, cursor: str) -> AsyncIterator[Receiver]:
        fields: dict[str, Any] = {"cursor": cursor} if cursor else {}
        if self.history.mentor_ids:
            fields["mentor_id"] = sorted(self.history.mentor_ids)
        if self.history.changes_only:
            fields["changes_only"] = True
        if self._random.random() < 0.5:
            async with sse(self._addresses.rest, **fields) as receiver:
                yield receiver
        else:
            async with channel_to(self._addresses.grpc) as channel, watch(channel, **fields) as stream:
                yield stream


def channel_to(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=OWN_CONNECTION)


class Traffic:
    """Writers and watchers of one service. `may_write` is cleared while the writers pause."""

    def __init__(self, addresses: Addresses, seed: int, writers: int, watchers: int) -> None:
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writers = [Writer(addresses, seed + number, self.may_write) for number in range(writers)]
        self.watchers = [Watcher(addresses, seed + number) for number in range(watchers)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """An unexpected failure of one of them ends the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in (*self.writers, *self.watchers)]
            try:
                yield
            finally:
                for watcher in self.watchers:
                    watcher.cut()
                for task in tasks:
                    task.cancel()

    async def pause_writers(self) -> None:
        self.may_write.clear()
        await until(lambda: all(writer.is_idle for writer in self.writers))

    async def wait_for_writes(self, count: int) -> None:
        wanted = sum(writer.calls for writer in self.writers) + count
        await until(lambda: sum(writer.calls for writer in self.writers) >= wanted)

    async def wait_for_watchers(self, epoch: int, revision: int) -> None:
        """Waits until all have come to a point, which the log does not leave."""
        await until(lambda: all(watcher.position == (epoch, revision) for watcher in self.watchers))


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
