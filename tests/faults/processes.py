"""Runs the service's commands as an operator would."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.dying_with import dying_with_us
from tests.grpc_client import CALL_SECONDS, Connect
from tests.server_process import children, environment

FREE_PORTS = {f"{name}_address": "127.0.0.1:0" for name in ("grpc", "rest", "metrics", "gateway_admin")}
STOP_SECONDS = 20
WAIT_SECONDS = 30.0  # far longer than any wait: a test fails instead of hanging
POLL_SECONDS = 0.02
SERVICE = "mentorstatus.v1.MentorStatusSync"
MENTORSYNC = (sys.executable, "-m", "mentorsync")


@asynccontextmanager
async def running(command: Sequence[str], database_url: str, **settings: str) -> AsyncIterator[Process]:
    """Runs a command of the service on free ports inside the block. `settings` adds settings by name."""
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(list(command)),
        env=environment(FREE_PORTS | {"database_url": database_url, "log_level": "error"} | settings),
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGCONT, signal.SIGINT):
            with suppress(ProcessLookupError):
                process.send_signal(number)
        await asyncio.wait_for(process.communicate(), STOP_SECONDS)


class Server:
    """A running `mentorsync serve`, with a channel to it."""

    def __init__(self, pid: int, channel: grpc.aio.Channel) -> None:
        self.pid = pid
        self.channel = channel
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    @classmethod
    @asynccontextmanager
    async def running(
        cls, database_url: str, connect: Connect, command: Sequence[str] = (*MENTORSYNC, "serve")
    ) -> AsyncIterator["Server"]:
        async with running(command, database_url) as process:
            assert process.stdout
            announced = json.loads(await process.stdout.readline())
            async with connect(announced["grpc"]) as channel:
                yield cls(process.pid, channel)

    async def is_serving(self) -> bool:
        reply = await self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CALL_SECONDS)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def wait_for_health(self, *, serving: bool, within: float = WAIT_SECONDS) -> None:
        async with asyncio.timeout(within):
            while await self.is_serving() is not serving:
                await asyncio.sleep(POLL_SECONDS)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class Up:
    """A running `mentorsync up` with replicas.

    rest: the URL of the REST listener. grpc: the address on which Envoy serves gRPC, or else that of the first server.
    admin: the replicas' admin URLs.
    """

    def __init__(self, pid: int, printed: Mapping[str, str], replicas: int) -> None:
        self.rest = printed["REST"]
        self.grpc = printed.get("balanced", printed["gRPC"]).split(maxsplit=1)[0].rstrip(",")
        self.admin = printed["admin"].split(", ")
        self.pid = pid
        self._count = replicas

    @classmethod
    @asynccontextmanager
    async def running(
        cls, database_url: str, replicas: int, *flags: str, program: Sequence[str] = MENTORSYNC, **settings: str
    ) -> AsyncIterator["Up"]:
        """With --separate the gateway listens for gRPC too. `settings` adds settings by name."""
        if "--separate" in flags:
            settings["gateway_grpc_address"] = "127.0.0.1:0"
        command = (*program, "up", "--replicas", str(replicas), *flags)
        async with running(command, database_url, **settings) as process:
            assert process.stdout
            printed: dict[str, str] = {}
            while "Ctrl-C" not in printed:
                line = await process.stdout.readline()
                assert line, "it has ended"
                label, _, value = line.decode().strip().partition(" ")
                printed[label] = value.strip()
            yield cls(process.pid, printed, replicas)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def parts(self) -> list[int]:
        """The ids of the processes that it runs."""
        return children(self.pid)

    def replicas(self) -> list[int]:
        """The ids of the running replica processes. With --separate, the gateway is not one of them."""
        parts = self.parts()
        return [pid for pid in parts if b"serve" in _arguments(pid)] or parts

    async def wait_until_replaced(self, *pids: int, within: float = 2 * WAIT_SECONDS) -> None:
        """Waits until all replicas serve and none of them is one of these processes."""
        async with asyncio.timeout(within), httpx.AsyncClient() as client:
            while set(pids) & set(self.replicas()) or len(self.replicas()) != self._count:
                await asyncio.sleep(POLL_SECONDS)
            for admin in self.admin:
                while not await _sees_healthy_servers(client, admin):
                    await asyncio.sleep(POLL_SECONDS)


def _arguments(pid: int) -> list[bytes]:
    """Those of a process, or none if it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


async def _sees_healthy_servers(client: httpx.AsyncClient, admin: str) -> bool:
    """Whether all servers of an Envoy are healthy: that inside it, or those behind it."""
    try:
        clusters = (await client.get(f"{admin}/clusters?format=json")).json()["cluster_statuses"]
    except httpx.TransportError:
        return False
    servers = next(cluster["host_statuses"] for cluster in clusters if cluster["name"] == "mentorsync")
    return all(server["health_status"] == {"eds_health_status": "HEALTHY"} for server in servers)
