"""Keeps replicas running.

A replica that ends or hangs is started again. On SIGHUP all of them are replaced, one after the other.
"""

import asyncio
from asyncio import FIRST_COMPLETED, Task, TaskGroup
from collections.abc import Callable, Sequence
from typing import NoReturn

from mentorsync.supervisor.part import cause_of_end
from mentorsync.supervisor.replica import Replica
from mentorsync.supervisor.restart import is_started, start_again
from mentorsync.supervisor.stop import end_by
from mentorsync.supervisor.supervisor import Supervisor
from mentorsync.time_limits import STOP_SECONDS


class Replicas:
    """Replicas that serve on the same addresses. Each keeps its own addresses when it is started again.

    `new_stand_in` makes one more replica, which serves while the others are replaced. Its admin and metrics addresses
    are its own, so that those of the others stay as they are.
    """

    def __init__(
        self, replicas: Sequence[Replica], new_stand_in: Callable[[], Replica], supervisor: Supervisor
    ) -> None:
        self._replicas = replicas
        self._new_stand_in = new_stand_in
        self._supervisor = supervisor
        self._say = supervisor.output.say
        self._keepers: dict[Replica, Task[NoReturn]] = {}
        self._replacement_requested = asyncio.Event()
        supervisor.on_hangup = self._replacement_requested.set

    async def keep(self) -> NoReturn:
        """Watches replicas that have been started, until it is cancelled."""
        async with TaskGroup() as group:
            for replica in self._replicas:
                self._watch(replica, group)
            while True:
                await self._replacement_requested.wait()
                self._replacement_requested.clear()
                await self._replace_all(group)

    async def _replace_all(self, group: TaskGroup) -> None:
        stand_in = self._new_stand_in()
        with self._supervisor.also_running(stand_in):
            if not await is_started(stand_in, self._say):
                self._say("SIGHUP: no replica was replaced, because a new one could not be started")
                return
            self._watch(stand_in, group)
            for replica in self._replicas:
                await self._retire(replica)
                await start_again(replica, self._say)
                self._watch(replica, group)
            await self._retire(stand_in)
        self._say(f"SIGHUP: replaced {len(self._replicas)} of {len(self._replicas)} replicas")

    def _watch(self, replica: Replica, group: TaskGroup) -> None:
        self._keepers[replica] = group.create_task(self._keep_running(replica))

    async def _retire(self, replica: Replica) -> None:
        """Ends a replica without a failed request, while others serve."""
        keeper = self._keepers.pop(replica)
        keeper.cancel()
        await asyncio.wait((keeper,))
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        if not await end_by(deadline, replica, replica.retire):
            self._say(f"{replica.name} did not end in time and was killed")

    async def _keep_running(self, replica: Replica) -> NoReturn:
        while True:
            end = await _wait_for_end(replica)
            self._say(f"{replica.name} {end}, and is started again")
            await start_again(replica, self._say)


async def _wait_for_end(replica: Replica) -> str:
    """Waits until a replica ends or hangs, and kills the one that hangs. Returns what happened, for a message."""
    ended, hung = asyncio.ensure_future(replica.wait()), asyncio.ensure_future(replica.wait_until_hung())
    try:
        await asyncio.wait((ended, hung), return_when=FIRST_COMPLETED)
    finally:
        hung.cancel()
        ended.cancel()
    if ended.done() and not ended.cancelled():
        return f"ended {cause_of_end(ended.result())}"
    await replica.kill()
    return "hung, was killed"
