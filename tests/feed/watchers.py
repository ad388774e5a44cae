"""A random receiver, which records what it sees."""

import asyncio
import random
from asyncio import Task
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx
from mentorsync.feed.cursor import Cursor

from tests.feed.addresses import Addresses, channel_to
from tests.feed.history import History, Opened
from tests.feed.receivers import Receiver, Step, sse, watch
from tests.feed.writers import MENTORS, RETRY_SECONDS

SILENCE_SECONDS = 2.0  # five heartbeats: a receiver whose stream is silent for longer connects again
RESUME_SECONDS = 30.0  # for all attempts
FAILURES = (httpx.TransportError, httpx.HTTPStatusError, grpc.aio.AioRpcError, StopAsyncIteration, TimeoutError)


class Watcher:
    """One receiver. Each of its connections is over a random transport, and begins at the last cursor.

    A RESET makes it drop its cursor, until it gets a new one.
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
                    self.cursor = "" if step.kind == "reset" else step.cursor or self.cursor

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
