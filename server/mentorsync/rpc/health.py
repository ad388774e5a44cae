"""The health of the server: SERVING while both reads and writes work."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from grpc_health.v1 import health, health_pb2

from mentorsync.storage.errors import StorageError

Probe = Callable[[], Awaitable[None]]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROBE_SECONDS = 1.0  # pause between two rounds of probes

logger = logging.getLogger(__name__)


class Health(health.aio.HealthServicer):
    """grpcio's health service, except that its `Watch` streams end when the server drains.

    Each stream ends once it has reported NOT_SERVING. An open stream would keep the server from stopping for the whole
    drain time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_draining = False
        self.is_known = asyncio.Event()  # set once `report_health` has reported for the first time

    async def enter_graceful_shutdown(self) -> None:
        self._is_draining = True
        await super().enter_graceful_shutdown()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the protocol's name
        watch_context: Any = _WatchContext(self, context)
        with suppress(_DrainingError):
            await super().Watch(request, watch_context)

    async def write(self, response: health_pb2.HealthCheckResponse, context: Any) -> None:
        await context.write(response)
        # A drain may begin while SERVING is being sent. NOT_SERVING then follows.
        if self._is_draining and response.status != SERVING:
            raise _DrainingError


class _DrainingError(Exception):
    """The server drains, and the watcher has received NOT_SERVING."""


class _WatchContext:
    """The context that a watch writes to."""

    def __init__(self, servicer: Health, context: Any) -> None:
        self._servicer = servicer
        self._context = context

    async def write(self, response: health_pb2.HealthCheckResponse) -> None:
        await self._servicer.write(response, self._context)


async def report_health(servicer: Health, services: tuple[str, ...], probes: Mapping[str, Probe]) -> NoReturn:
    """Probes repeatedly, and sets the health of the services: SERVING while no probe fails.

    `probes` are named by what they test, in the plural ("reads"). A probe fails by raising StorageError; the log shows
    when the failures begin and when they end.
    """
    failing: set[str] = set()
    reported = None
    while True:
        errors = await asyncio.gather(*(_failure(probe) for probe in probes.values()))
        for name, error in zip(probes, errors, strict=True):
            _log_change(name, error, failing)
        status = NOT_SERVING if failing else SERVING
        if status != reported:
            reported = status
            for service in services:
                await servicer.set(service, int(status))
            servicer.is_known.set()
        await asyncio.sleep(PROBE_SECONDS)


async def _failure(probe: Probe) -> StorageError | None:
    try:
        await probe()
    except StorageError as error:
        return error
    return None


def _log_change(name: str, error: StorageError | None, failing: set[str]) -> None:
    """Updates `failing`, and logs one line if this probe began to fail or works again."""
    if error is not None and name not in failing:
        failing.add(name)
        logger.error("not serving: %s fail: %s", name, error)
    elif error is None and name in failing:
        failing.remove(name)
        logger.warning("%s: %s work", "still not serving" if failing else "serving again", name)
