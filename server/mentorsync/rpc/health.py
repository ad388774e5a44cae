"""grpcio's health service, made to end with the server."""

from contextlib import suppress
from typing import Any

from grpc_health.v1 import health, health_pb2


class Health(health.aio.HealthServicer):
    """Ends a watch with its last word, NOT_SERVING: an open stream would hold the server's end up for all of the drain
    time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_draining = False

    async def enter_graceful_shutdown(self) -> None:
        self._is_draining = True
        await super().enter_graceful_shutdown()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the contract's name
        watch_context: Any = _WatchContext(self, context)
        with suppress(_DrainingError):
            await super().Watch(request, watch_context)

    async def write(self, response: health_pb2.HealthCheckResponse, context: Any) -> None:
        await context.write(response)
        # A drain may begin while SERVING is on its way: the last word is still to come then.
        if self._is_draining and response.status != health_pb2.HealthCheckResponse.SERVING:
            raise _DrainingError


class _DrainingError(Exception):
    """The server drains, and the watcher knows."""


class _WatchContext:
    """What a watch writes to."""

    def __init__(self, servicer: Health, context: Any) -> None:
        self._servicer = servicer
        self._context = context

    async def write(self, response: health_pb2.HealthCheckResponse) -> None:
        await self._servicer.write(response, self._context)
