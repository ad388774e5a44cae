"""Envoy's admin interface, as far as running and stopping Envoy takes.

See https://www.envoyproxy.io/docs/envoy/v1.39.3/operations/admin
"""

import asyncio
import json
from http.client import HTTPConnection, HTTPException
from typing import Any

Address = tuple[str, int]

TIMEOUT_SECONDS = 2.0  # Envoy answers from its main thread, which is idle except while it loads a configuration
ADMIN_FAILURES = (OSError, HTTPException, ValueError)  # what any call raises when Envoy is gone or is not there yet


class AdminClient:
    def __init__(self, address: Address) -> None:
        self.address = address

    async def is_live(self) -> bool:
        """Whether Envoy has started all its listeners and drains none."""
        return await self._call("GET", "/ready") == b"LIVE\n"

    async def listeners(self) -> dict[str, Address]:
        """Where Envoy really listens, by listener name."""
        statuses = json.loads(await self._call("GET", "/listeners?format=json")).get("listener_statuses", [])
        return {status["name"]: _address(status["local_address"]) for status in statuses}

    async def active_requests(self) -> int:
        """How many requests of callers are unanswered, the admin interface's own aside."""
        reply = await self._call("GET", r"/stats?format=json&filter=^http\.(rest|grpc)\.downstream_rq_active$")
        return sum(stat["value"] for stat in json.loads(reply)["stats"])

    async def fail_health_check(self) -> None:
        """Makes /healthz answer 503, so that load balancers look elsewhere."""
        await self._call("POST", "/healthcheck/fail")

    async def discourage_connections(self) -> None:
        """Makes callers leave, while all of them are still served: `connection: close` on answers, GOAWAY on HTTP/2."""
        await self._call("POST", "/drain_listeners?graceful&skip_exit")

    async def close_listeners(self) -> None:
        """Refuses new connections. Those that exist are still served."""
        await self._call("POST", "/drain_listeners")

    async def _call(self, method: str, path: str) -> bytes:
        return await asyncio.to_thread(self._exchange, method, path)

    def _exchange(self, method: str, path: str) -> bytes:
        connection = HTTPConnection(*self.address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


def _address(local_address: dict[str, Any]) -> Address:
    socket_address = local_address["socket_address"]
    return socket_address["address"], socket_address["port_value"]
