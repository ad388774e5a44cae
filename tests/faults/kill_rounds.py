"""kill -9 under load, round after round: each killed server is followed by a new one on the same database."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.load import CLIENTS, Load, grpc_submit
from tests.faults.processes import POLL_SECONDS, Server
from tests.grpc_client import Connect

MOST_ANSWERS = 12 * CLIENTS  # before a kill
ROUND_SECONDS = 30.0  # a start takes about 1 s: a test fails instead of hanging


class Successors:
    """The one server of a database, and those that follow it. Calls wait while there is none."""

    def __init__(self, database_url: str, connect: Connect) -> None:
        self._database_url = database_url
        self._connect = connect
        self._is_up = asyncio.Event()
        self._stack = AsyncExitStack()
        self._pid = 0
        self._calls = 0  # in flight

    async def start(self) -> None:
        server = await self._stack.enter_async_context(Server.running(self._database_url, self._connect))
        self._pid = server.pid
        self._submit_to_server = grpc_submit([server.channel], may_break=True)
        self._is_up.set()

    async def kill(self) -> None:
        self._is_up.clear()
        os.kill(self._pid, signal.SIGKILL)
        while self._calls or self._is_running():  # closing the channel would cancel the calls' tasks
            await asyncio.sleep(POLL_SECONDS)
        await self.stop()

    async def stop(self) -> None:
        await self._stack.aclose()

    def _is_running(self) -> bool:
        return Path(f"/proc/{self._pid}").exists()

    async def submit(self, mentor_id: str, reason: str, key: str | None) -> str:
        await self._is_up.wait()
        self._calls += 1
        try:
            return await self._submit_to_server(mentor_id, reason, key)
        finally:
            self._calls -= 1


@dataclass
class KillRounds:
    """What came out. `seconds` are the times from each kill to the first answer after it."""

    load: Load
    seconds: list[float] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return len(self.seconds)


async def kill_in_rounds(
    database_url: str, connect: Connect, rounds: int, seed: int, tell: Callable[[int], None] | None = None
) -> KillRounds:
    """Kills at moments that the seed draws. `tell` gets the number of kills after each round."""
    random = Random(seed)  # noqa: S311 - no secret
    service = Successors(database_url, connect)
    await service.start()
    try:
        async with Load.running(service.submit) as load:
            outcome = KillRounds(load)
            for _ in range(rounds):
                await load.wait_for_answers(random.randint(1, MOST_ANSWERS))
                await service.kill()
                killed = time.monotonic()
                await service.start()
                await load.wait_for_answers(1, within=ROUND_SECONDS)
                outcome.seconds.append(time.monotonic() - killed)
                if tell:
                    tell(outcome.kills)
    finally:
        await service.stop()
    return outcome
