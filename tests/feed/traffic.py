"""Random writers and random receivers of one service, which go on through all faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.feed.addresses import Addresses
from tests.feed.watchers import Watcher
from tests.feed.writers import Writer


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
            tasks = [group.create_task(writer.run()) for writer in self.writers]
            tasks += [group.create_task(watcher.run()) for watcher in self.watchers]
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


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
