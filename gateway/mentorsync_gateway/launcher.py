"""Runs the gateway: starts Envoy, knows when and where it serves, and stops it without losing a request."""

import asyncio
import errno
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from mentorsync_gateway.admin import ADMIN_FAILURES, AdminClient
from mentorsync_gateway.config import Address, Config, listening_addresses
from mentorsync_gateway.errors import GatewayError
from mentorsync_gateway.process import EnvoyProcess

START_SECONDS = 20.0  # a start takes 0.1 s; the embedded service's database may take longer
DRAIN_SECONDS = 10.0  # what a call may take, as the timeout of its route says
POLL_SECONDS = 0.02


class Gateway:
    """A running Envoy. `addresses` says where it listens, by listener: "rest", "admin", and "grpc" if it has one."""

    def __init__(self, process: EnvoyProcess, admin: AdminClient, addresses: Mapping[str, Address]) -> None:
        self._process = process
        self._admin = admin
        self.addresses = addresses

    @classmethod
    async def start(
        cls,
        config: Config,
        *,
        environment: Mapping[str, str] | None = None,
        log_level: str = "warning",
        start_seconds: float = START_SECONDS,
    ) -> Self:
        """Starts Envoy and returns once it serves.

        `environment` is added to this process's own. `log_level` is one of Envoy's; access lines are logged at any.
        Raises GatewayError when an address is taken, when Envoy cannot be run, ends at once, or needs more than
        `start_seconds`; HostModuleError when it cannot host Python.
        """
        for setting, address in listening_addresses(config).items():
            check_free(setting, address)
        with tempfile.TemporaryDirectory(prefix="mentorsync-gateway-") as directory:  # for this user's eyes alone
            admin_address_path = Path(directory, "admin-address")
            process = await EnvoyProcess.spawn(
                _write_config(config, directory), admin_address_path, os.environ | (environment or {}), log_level
            )
            try:
                async with asyncio.timeout(start_seconds):
                    admin = await _live_admin(process, admin_address_path)
                    process.serves()
                    return cls(process, admin, await admin.listeners() | {"admin": admin.address})
            except TimeoutError as error:
                await process.end()
                raise GatewayError(f"Envoy did not serve within {start_seconds:g} s") from error
            except BaseException:
                await process.end()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Waits until Envoy has ended. Returns its exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Gives callers up to `drain_seconds` to finish, then ends Envoy. Does nothing when Envoy has ended."""
        if not self._process.has_ended:
            with suppress(*ADMIN_FAILURES):
                async with asyncio.timeout(drain_seconds):
                    await self._drain()
        await self._process.end()

    async def _drain(self) -> None:
        await self._admin.fail_health_check()
        await self._admin.discourage_connections()
        await self._answered()
        await self._admin.close_listeners()  # from here on nobody comes, and who came meanwhile is waited for
        await self._answered()

    async def _answered(self) -> None:
        while await self._admin.active_requests():
            await asyncio.sleep(POLL_SECONDS)


async def _live_admin(process: EnvoyProcess, admin_address_path: Path) -> AdminClient:
    """The admin interface of an Envoy that serves. Its address is in the file before its listeners listen."""
    while not process.has_ended:
        with suppress(*ADMIN_FAILURES):
            admin = AdminClient(_read_address(admin_address_path))
            if await admin.is_live():
                return admin
        await asyncio.sleep(POLL_SECONDS)
    raise await process.failure()


def _write_config(config: Config, directory: str) -> Path:
    path = Path(directory, "envoy.json")
    path.write_text(json.dumps(config), "utf-8")
    return path


def _read_address(path: Path) -> Address:
    host, _, port = path.read_text("utf-8").rpartition(":")
    return host.strip("[]"), int(port)


def check_free(setting: str, address: Address) -> None:
    """Raises GatewayError when an address cannot be listened on. Envoy's own message would name no setting."""
    host, port = address
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Envoy does: closed connections linger
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "is taken by another process" if taken else f"cannot be listened on: {error.strerror}"
            raise GatewayError(f"{setting} {host}:{port} {reason}") from error
