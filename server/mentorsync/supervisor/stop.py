"""The phases of a stop, under one deadline.

All parts are told first, so that their streams end. Then the gateway goes (envoy.py): it reports unready, answers with
`connection: close` for a moment, closes its listeners, finishes the requests in flight and ends. Then the servers
behind it finish their calls and end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mentorsync.supervisor.part import Part
from mentorsync.time_limits import END_SECONDS


async def stop_in_order(groups: Sequence[Sequence[Part]], deadline: float) -> list[Part]:
    """Ends the groups of parts, in reverse order of their start. Returns the parts that had to be killed.

    A group that hangs is killed early enough for the remaining groups to end.
    """
    for group in groups:
        for part in group:
            part.announce_stop()
    killed: list[Part] = []
    for groups_left, group in reversed(list(enumerate(groups))):
        group_deadline = deadline - groups_left * END_SECONDS
        outcomes = await asyncio.gather(*(_stop(part, group_deadline) for part in group))
        killed += [part for part, ended in zip(group, outcomes, strict=True) if not ended]
    return killed


async def kill_all(groups: Sequence[Sequence[Part]]) -> None:
    """Ends all parts at once, without an answer to the calls in flight."""
    await asyncio.gather(*(part.kill() for group in groups for part in group))


async def _stop(part: Part, deadline: float) -> bool:
    """Ends a part. Returns whether it ended before the deadline without being killed."""
    return await end_by(deadline, part, part.drain)


async def end_by(deadline: float, part: Part, drain: Callable[[float], Awaitable[None]]) -> bool:
    """Runs `drain`, which ends the part, and kills the part at the deadline. Returns whether it ended before."""
    try:
        async with asyncio.timeout_at(deadline):
            await drain(deadline)
    except TimeoutError:
        await part.kill()
        return False
    return True
