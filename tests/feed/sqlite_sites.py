"""`mentorsync up` on SQLite under faults, in both layouts."""

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

from tests.feed.sites import Site
from tests.server_process import Database
from tests.up_process import wait_until_gone


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
        await self._kill_and_start(*self.up.parts(), self.up.pid)

    async def _kill_and_start(self, *pids: int) -> None:
        """If only one part is killed, the supervisor stops the other one, and ends."""
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


def sqlite_site(folder: Path) -> AbstractAsyncContextManager[SqliteSite]:
    return SqliteSite(folder).running()


def separate_site(folder: Path) -> AbstractAsyncContextManager[SeparateSite]:
    return SeparateSite(folder).running()
