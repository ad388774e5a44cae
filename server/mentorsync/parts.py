"""Watches the background threads and tasks of a server: none of them may end before the server stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)


class PartEndedError(Exception):
    """A part ended although it was not stopped. The log has the traceback."""


@asynccontextmanager
async def watched(parts: Mapping[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Runs the body. If one of the parts ends, cancels the body and raises PartEndedError.

    `parts` maps names to functions that wait for the end of a part, and that raise the exception that ended it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_watch(name, part)) for name, part in parts.items()]
            yield
            for task in tasks:
                task.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _watch(name: str, wait_for_end: Callable[[], Awaitable[None]]) -> None:
    error: BaseException | None = None
    try:
        await wait_for_end()
    except asyncio.CancelledError:
        raise
    except BaseException as failure:  # noqa: BLE001 - any exception may have ended a thread
        error = failure
    logger.critical("the %s ended unexpectedly: the server stops", name, exc_info=error)
    raise PartEndedError(f"the {name} ended unexpectedly")
