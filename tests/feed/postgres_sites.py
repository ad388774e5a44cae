"""Two replicas of `mentorsync up` on PostgreSQL under faults."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from mentorsync.storage.postgres.change_statements import TIMELINE

from tests.databases import execute
from tests.feed.sites import Site
from tests.postgres_server import PostgresServer


class PostgresSite(Site):
    """Its primary has a synchronous standby, so that a failover loses nothing."""

    _epoch = f"epoch # {TIMELINE}"

    def __init__(self, primary: PostgresServer, standby: PostgresServer, *flags: str) -> None:
        self._primary = primary
        self._standby = standby
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        super().__init__(f"postgresql://postgres@{hosts}/mentorsync?target_session_attrs=read-write", 2, *flags)
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
async def postgres_site(folder: Path, *flags: str) -> AsyncIterator[PostgresSite]:
    with ExitStack() as stack:
        primary = PostgresServer(folder).create()
        stack.callback(primary.stop)
        primary.execute("CREATE DATABASE mentorsync")
        standby = await asyncio.to_thread(primary.standby)
        stack.callback(standby.stop)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.execute("SELECT pg_reload_conf()")
        async with PostgresSite(primary, standby, *flags).running() as site:
            yield site
