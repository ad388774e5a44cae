"""`mentorsync simulate`."""

import argparse
import asyncio
import random
import signal
import sys

from mentorsync.simulate.api import Api
from mentorsync.simulate.fleet import Fleet
from mentorsync.simulate.phone import OK, UnreachableError
from mentorsync.simulate.plan import make_plan
from mentorsync.simulate.screen import show
from mentorsync.simulate.verdict import CannotCheckError, judge

BROKEN = 1
REFUSED = 2
CURRENT_SECONDS = 30.0  # for the feed to open, also if ended streams still count


async def simulate(options: argparse.Namespace, token: str | None) -> int:
    """Returns the exit status: 0 if the check passed."""
    seed = random.randrange(2**32) if options.seed is None else options.seed  # noqa: S311 - chooses a plan
    api = Api(options.url, token)
    print(f"writing events to {options.url}", flush=True)
    try:
        if problem := await find_problem(api):
            print(f"mentorsync: {options.url} {problem}", file=sys.stderr)
            return REFUSED
        print(f"{options.phones} phones, {options.mentors} mentors, {options.duration} s, --seed {seed}", flush=True)
        return await run(api, Fleet(api, make_plan(seed, options.phones, options.mentors, options.duration)))
    finally:
        await api.close()


async def find_problem(api: Api) -> str | None:
    try:
        answer = await api.page(1)
    except UnreachableError:
        return "cannot be reached: start the service with `mentorsync up`, or set another --url"
    if answer.status == OK:
        return None
    return f"answers {answer.status}: with JWT, pass a token that reaches all mentors (scope mentorsync.admin)"


async def run(api: Api, fleet: Fleet) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    tasks = fleet.background()
    screen = asyncio.create_task(show(fleet))
    try:
        await wait_for_feed(fleet)
        await fleet.run(stop)
        screen.cancel()
        await asyncio.gather(screen, return_exceptions=True)  # ends the live view before the verdict is printed
        verdict = await judge(api, fleet)
    except CannotCheckError as error:
        print(f"mentorsync: {error}", file=sys.stderr)
        return BROKEN
    finally:
        for task in (screen, *tasks):
            task.cancel()
        await asyncio.gather(screen, *tasks, return_exceptions=True)
    print(verdict)
    return 0 if verdict.has_passed else BROKEN


async def wait_for_feed(fleet: Fleet) -> None:
    """Waits for the first cursor, so that the feed must show every later change."""
    try:
        async with asyncio.timeout(CURRENT_SECONDS):
            while not (fleet.observer.cursor and all(view.cursor for view in fleet.views.values())):
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise CannotCheckError("the live feed cannot be opened") from error
