"""Services under faults: `mentorsync up` on SQLite, in both layouts, and two replicas of it on PostgreSQL."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
from mentorsync.storage.engine import Engine, open_engine
from mentorsync.storage.epoch import renew_epoch
from mentorsync.storage.errors import PurgeStoppedError
from mentorsync.storage.migrator import migrate
from mentorsync.storage.postgres.change_statements import TIMELINE
from mentorsync.storage.purge import purge

from tests.databases import execute
from tests.faults.processes import Up
from tests.feed import audit
from tests.feed.addresses import Addresses
from tests.postgres_server import PostgresServer
from tests.server_process import Database
from tests.up_process import wait_until_gone

ENGINE_LOCK = threading.Lock()  # Peewee's models belong to one database at a time, and the soak has two
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


class SqliteSite(Site):
    def __init__(self, folder: Path, *flags: str) -> None:
        self._database = Database(folder / "mentorsync.db")
        self._backup = folder / "backup.db"
        self._clock_step = self._database.path.with_suffix(".clock")
        super().__init__(self._database.url, 1, *flags)
        self.create(is_postgres=False)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql)

    async def kill(self) -> None:
        """All processes at once, by SIGKILL, and starts the service again."""
        await self._kill_and_start(self.up.pid, *self.up.parts())

    async def _kill_and_start(self, *pids: int) -> None:
        """If only one part is killed, `mentorsync up` stops the other one, and ends."""
        processes = [self.up.pid, *self.up.parts()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_gone, processes)
        await self.stop()
        await self.start()

    def step_clock(self, seconds: int) -> None:
        """Sets the service's clock so far ahead of the true time, or behind it."""
        written = self._clock_step.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._clock_step)

    async def back_up(self) -> None:
        with self._database.connect() as source, closing(sqlite3.connect(self._backup)) as backup:
            source.backup(backup)

    async def restore(self, *, new_epoch: bool) -> None:
        await self.stop()
        for path in self._database.path.parent.glob("mentorsync.db-*"):
            path.unlink()
        shutil.copyfile(self._backup, self._database.path)
        if new_epoch:
            self.new_epoch()
        await self.start()


class SeparateSite(SqliteSite):
    """The server and the gateway are processes of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "--separate")

    async def kill_server(self) -> None:
        await self._kill_and_start(*self.up.replicas())

    async def kill_gateway(self) -> None:
        await self._kill_and_start(*{*self.up.parts()} - {*self.up.replicas()})


class PostgresSite(Site):
    """Its primary has a synchronous standby, so that a failover loses nothing."""

    _epoch = f"epoch # {TIMELINE}"

    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self._primary = primary
        self._standby = standby
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        super().__init__(f"postgresql://postgres@{hosts}/mentorsync?target_session_attrs=read-write", replicas=2)
        self._server = primary
        self.create(is_postgres=True)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return execute(self.database_url, sql)

    async def kill(self) -> None:
        """One replica. The other one serves until it is started again."""
        killed = random.choice(self.up.replicas())  # noqa: S311 - the two are the same
        os.kill(killed, signal.SIGKILL)
        await self.up.wait_until_replaced(killed)

    @asynccontextmanager
    async def frozen_replica(self) -> AsyncIterator[None]:
        """Suspends one replica. It may be killed as hung, and started again, before the block ends."""
        frozen = self.up.replicas()[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            yield
        finally:
            if frozen in self.up.replicas():
                os.kill(frozen, signal.SIGCONT)

    async def fail_over(self) -> None:
        """Loses the primary's machine, and promotes the standby."""
        await asyncio.to_thread(self._primary.kill)
        await asyncio.to_thread(self._standby.promote)
        self._server = self._standby
        self._server.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self._server.execute("SELECT pg_reload_conf()")

    async def back_up(self) -> None:
        await asyncio.to_thread(self._copy_database, "mentorsync", "backup")

    async def restore(self, *, new_epoch: bool) -> None:
        """While the replicas run: they find out themselves."""
        await asyncio.to_thread(self._copy_database, "backup", "mentorsync")
        if new_epoch:
            await asyncio.to_thread(self.new_epoch)

    def _copy_database(self, source: str, target: str) -> None:
        """Connections to either of them are closed."""
        self._server.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS false")
        self._server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'")  # noqa: S608 - a constant
        self._server.execute(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
        self._create_from(source, target)
        self._server.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS true")

    def _create_from(self, source: str, target: str) -> None:
        """A backend that was told to end may still use the source."""
        for attempt in range(50):
            try:
                self._server.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
            except psycopg.errors.ObjectInUse:
                assert attempt < 49
            else:
                return


@asynccontextmanager
async def postgres_site(folder: Path) -> AsyncIterator[PostgresSite]:
    with ExitStack() as stack:
        primary = PostgresServer(folder).create()
        stack.callback(primary.stop)
        primary.execute("CREATE DATABASE mentorsync")
        standby = await asyncio.to_thread(primary.standby)
        stack.callback(standby.stop)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        async with PostgresSite(primary, standby).running() as site:
            yield site
