"""A `mentorsync serve` process as a part."""

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Mapping

from mentorsync.config import (
    DATABASE_URL,
    GRPC_ADDRESS,
    GRPC_CLIENT_CA,
    JWT_ISSUER,
    LOG_FORMAT,
    LOG_LEVEL,
    METRICS_ADDRESS,
    STREAMS_PER_ADDRESS,
    TLS_CERTIFICATE,
    TLS_KEY,
    variables,
)
from mentorsync.dropped_lines import VARIABLE, DroppedLines
from mentorsync.kinds import parse_address
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.part import Address, PartError, cause_of_end
from mentorsync.supervisor.relay import Relay, Write

PREFIX = "mentorsync: "  # of the line in which a command says why it cannot start
COMMAND = (sys.executable, "-m", "mentorsync", "serve")
SERVER_SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, JWT_ISSUER, STREAMS_PER_ADDRESS, LOG_LEVEL)
# The gateway speaks TLS to callers. To the server on the same machine it does not.
NO_TLS = {setting.variable: "" for setting in (TLS_CERTIFICATE, TLS_KEY, GRPC_CLIENT_CA)}


class Server:
    """A gRPC server. `addresses` are "grpc" and "metrics"; it keeps them when it is started again.

    It exports `dropped_lines`, if given, with its own metrics.
    """

    def __init__(self, settings: Namespace, write: Write, dropped_lines: DroppedLines | None) -> None:
        self.name = "the server"
        self.addresses: Mapping[str, Address] = {}
        self._settings = settings
        self._write = write
        self._dropped_lines = dropped_lines
        self._child: Child | None = None

    async def start(self) -> None:
        self._relay = Relay(self._write, holds_back=True)
        child = self._child = await self._start_child()
        line = await child.stdout.read()  # one line, written at once
        self._relay.follow(child.stdout)
        if not line:
            raise _failed_start(self.name, await child.wait(), self._relay)
        self._relay.release()
        self._keep_addresses(json.loads(line))

    async def wait(self) -> int:
        assert self._child
        return await self._child.wait()

    def announce_stop(self) -> None:
        if self._child is not None:
            self._child.announce_stop()

    async def drain(self, deadline: float) -> None:  # noqa: ARG002 - the server has a limit of its own
        if self._child is None or self._child.has_ended:
            return
        self._child.send_signal(signal.SIGINT)  # SIGTERM would first wait until gateways use other servers
        await self.wait()

    async def kill(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            await self.wait()

    async def _start_child(self) -> Child:
        descriptors: tuple[int, ...] = ()
        # The supervisor reads the lines, and turns them into text itself.
        own = NO_TLS | {LOG_FORMAT.variable: "json"}
        environment = os.environ | variables(self._settings, SERVER_SETTINGS) | own
        if self._dropped_lines is not None:
            descriptors = (self._dropped_lines.descriptor,)
            environment[VARIABLE] = str(self._dropped_lines.descriptor)
        try:
            return await Child.start(COMMAND, environment, self._relay, descriptors)
        except OSError as error:
            raise PartError(f"{self.name} cannot be run: {error.strerror}") from error

    def _keep_addresses(self, ready: Mapping[str, str]) -> None:
        grpc, metrics = parse_address(ready["grpc"]), parse_address(ready["metrics"])
        self._settings = Namespace(**vars(self._settings) | {GRPC_ADDRESS.name: grpc, METRICS_ADDRESS.name: metrics})
        self.addresses = {"grpc": grpc, "metrics": metrics}
        self.name = f"the server at {grpc}"


def _failed_start(name: str, status: int, relay: Relay) -> PartError:
    """The error has the cause that the server printed as its last line. Without one, all its lines are passed on."""
    last = next(reversed(relay.last_messages()), "")
    if last.startswith(PREFIX):
        return PartError(last.removeprefix(PREFIX), status)
    relay.release()
    return PartError("", status) if status >= 0 else PartError(f"{name} ended {cause_of_end(status)}")
