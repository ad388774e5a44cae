"""A service under faults."""

import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import Any, Self

from mentorsync.storage.engine import Engine, open_engine
from mentorsync.storage.epoch import renew_epoch
from mentorsync.storage.errors import PurgeStoppedError
from mentorsync.storage.migrator import migrate
from mentorsync.storage.purge import purge

from tests.faults.processes import Up
from tests.feed import audit
from tests.feed.addresses import Addresses

ENGINE_LOCK = threading.Lock()  # Peewee's models belong to one database at a time, and the soak has several
SHORT_UP = (sys.executable, "-m", "tests.feed.short_up")
STREAMS = "1000"  # for one address: those whose client has gone count until the next heartbeat


class Site:
    """A service that goes on at `addresses`. Its database has the audit's table."""

    _epoch = "epoch"

    def __init__(self, database_url: str, replicas: int, *flags: str) -> None:
        self.database_url = database_url
        self.addresses = Addresses()
        self.up: Up
        self._replicas = replicas
        self._flags = flags
        self._stack = AsyncExitStack()

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def position(self) -> tuple[int, int]:
        """The epoch as cursors have it, and the last revision."""
        ((epoch, revision),) = self.execute(f"SELECT {self._epoch}, last_revision FROM history, log")  # noqa: S608 - a constant
        return epoch, revision

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        running = Up.running(
            self.database_url, self._replicas, *self._flags, program=SHORT_UP, streams_per_address=STREAMS
        )
        self.up = await self._stack.enter_async_context(running)
        self.addresses.rest, self.addresses.grpc = self.up.rest, self.up.grpc

    async def stop(self) -> None:
        await self._stack.aclose()

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        with ENGINE_LOCK, closing(open_engine(self.database_url)) as engine:
            yield engine

    def create(self, *, is_postgres: bool) -> None:
        with self.engine() as engine:
            engine.create()
            migrate(engine)
        audit.install(self.execute, is_postgres=is_postgres)

    def purge(self) -> None:
        """Removes all that nobody needs, however young. A database that fails meanwhile ends it."""
        with self.engine() as engine:
            try:
                purge(engine, 0, lambda *_progress: None)
            except PurgeStoppedError:
                return

    def new_epoch(self) -> None:
        with self.engine() as engine:
            renew_epoch(engine)
