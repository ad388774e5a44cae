"""Client of Envoy's admin interface: the calls that starting and stopping Envoy need.

See https://www.envoyproxy.io/docs/envoy/v1.39.3/operations/admin
"""

import asyncio
import json
import re
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from mentorsync.supervisor.part import Address

TIMEOUT_SECONDS = 2.0  # Envoy answers from its main thread, which is idle except while it loads a configuration
ADMIN_FAILURES = (OSError, HTTPException, ValueError)  # what calls raise while Envoy is not there
NOT_WAITED_FOR = re.compile(r"cluster\.(health_and_reflection|mentorsync_streams)\.upstream_rq_active")
HEALTHY_SERVERS = r"^cluster\.mentorsync\.membership_healthy$"
CERTIFICATE_ENDS = r"\.ssl\.certificate\.[^.]*\.expiration_unix_time_seconds$"
ACTIVE_FILTER = rf"^(http\.(rest|grpc)\.downstream_(rq|cx)_active|{NOT_WAITED_FOR.pattern})$"


class Activity(NamedTuple):
    """What callers have open: connections, and requests without a complete answer. Admin's own do not count.

    Nor do calls without an end of their own: streams of the live feed that servers behind this Envoy answer, and in the
    embedded mode calls of health and reflection, since a watch of the health is among them.
    """

    connections: int
    requests: int


class AdminClient:
    def __init__(self, address: Address, timeout: float = TIMEOUT_SECONDS) -> None:
        self.address = address
        self._timeout = timeout

    async def is_live(self) -> bool:
        """Whether Envoy has started all its listeners and is not draining."""
        return await self._call("GET", "/ready") == b"LIVE\n"

    async def listeners(self) -> dict[str, Address]:
        """The addresses that Envoy has bound, by listener name."""
        statuses = json.loads(await self._call("GET", "/listeners?format=json")).get("listener_statuses", [])
        bound = [status for status in statuses if "socket_address" in status["local_address"]]  # not internal ones
        return {status["name"]: _address(status["local_address"]) for status in bound}

    async def activity(self) -> Activity:
        stats = await self._stats(ACTIVE_FILTER)
        endless = sum(value for name, value in stats.items() if NOT_WAITED_FOR.fullmatch(name))
        connections, requests = (
            sum(value for name, value in stats.items() if name.endswith(f".downstream_{kind}_active"))
            for kind in ("cx", "rq")
        )
        return Activity(connections, requests - endless)

    async def server_health(self) -> Mapping[str, Any]:
        """What Envoy's health checks found out about its first server: the HostHealthStatus of Envoy's API."""
        clusters = json.loads(await self._call("GET", "/clusters?format=json"))["cluster_statuses"]
        cluster = next(one for one in clusters if one["name"] == "mentorsync")
        health: Mapping[str, Any] = cluster["host_statuses"][0]["health_status"]
        return health

    async def healthy_servers(self) -> int:
        """How many servers Envoy can send calls to."""
        (number,) = (await self._stats(HEALTHY_SERVERS)).values()
        return number

    async def certificate_ends(self) -> dict[str, int]:
        """When the certificates that Envoy uses end, in Unix time, by their names in its configuration."""
        ends: dict[str, int] = {}
        for stat, end in (await self._stats(CERTIFICATE_ENDS)).items():
            name = stat.split(".")[-2]
            ends[name] = min(end, ends.get(name, end))  # listeners take a new certificate one after the other
        return ends

    async def fail_health_check(self) -> None:
        """Makes /healthz answer 503, so that load balancers stop sending requests."""
        await self._call("POST", "/healthcheck/fail")

    async def start_drain(self) -> None:
        """From now on answers carry `connection: close`, or GOAWAY on HTTP/2. New connections are still accepted."""
        await self._call("POST", "/drain_listeners?graceful&skip_exit")

    async def close_listeners(self) -> None:
        """Refuses new connections. Envoy still serves those that exist."""
        await self._call("POST", "/drain_listeners")

    async def _stats(self, names: str) -> dict[str, int]:
        """The stats whose names match a regular expression."""
        reply = await self._call("GET", f"/stats?format=json&filter={names}")
        return {stat["name"]: stat["value"] for stat in json.loads(reply)["stats"]}

    async def _call(self, method: str, path: str) -> bytes:
        return await asyncio.to_thread(exchange, self.address, method, path, self._timeout)


def exchange(address: Address, method: str, path: str, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """The body of an answer. Raises one of ADMIN_FAILURES."""
    connection = HTTPConnection(*address, timeout=timeout)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _address(local_address: dict[str, Any]) -> Address:
    socket_address = local_address["socket_address"]
    return socket_address["address"], socket_address["port_value"]
