"""Reacts when a part ends unexpectedly: stops everything, or starts the part again."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from mentorsync_gateway.errors import GatewayError

from mentorsync.supervisor.part import Part, PartError, cause_of_end
from mentorsync.time_limits import RESTART_SECONDS

REPORT_SECONDS = 60.0  # between two lines about a cause that lasts

Say = Callable[[str], None]


class StartFailures:
    """Reports why a part cannot be started: a cause that is new at once, and one that lasts once a minute."""

    def __init__(self, name: str, say: Say, now: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._say = say
        self._now = now
        self._attempts = 0
        self._cause = ""
        self._reported_at = 0.0

    def report(self, cause: str) -> None:
        self._attempts += 1
        if cause != self._cause:
            self._say(cause)
        elif self._now() - self._reported_at >= REPORT_SECONDS:
            self._say(f"{self._name} cannot be started, after {self._attempts} attempts: {cause}")
        else:
            return
        self._cause, self._reported_at = cause, self._now()


async def watch(parts: Sequence[Part], restarted: Sequence[Part], say: Say) -> NoReturn:
    """Raises PartError as soon as one of `parts` ends. Starts those of `restarted` again whenever they end."""
    watchers: list[Coroutine[Any, Any, NoReturn]] = [
        *(_fail_at_end(part) for part in parts),
        *(_keep_running(part, say) for part in restarted),
    ]
    tasks = [asyncio.ensure_future(watcher) for watcher in watchers]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    done.pop().result()
    raise AssertionError("a watcher returned")


async def _fail_at_end(part: Part) -> NoReturn:
    status = await part.wait()
    raise PartError(f"{part.name} ended unexpectedly, {cause_of_end(status)}: stopping everything")


async def _keep_running(part: Part, say: Say) -> NoReturn:
    while True:
        status = await part.wait()
        say(f"{part.name} ended {cause_of_end(status)}, and is started again")
        await start_again(part, say)


async def start_again(part: Part, say: Say) -> None:
    """Starts a part that has ended, and reports that it is ready.

    Tries again, with a pause, for as long as it cannot be started.
    """
    failures = StartFailures(part.name, say)
    while not await is_started(part, failures.report):
        await asyncio.sleep(RESTART_SECONDS)
    say(f"{part.name} is ready again")


async def is_started(part: Part, say: Say) -> bool:
    """Starts a part, and returns whether that succeeded. Reports the cause if it did not."""
    try:
        await part.start()
    except (PartError, GatewayError) as error:
        if str(error):
            say(str(error))
        return False
    return True
