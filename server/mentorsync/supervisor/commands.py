"""What `mentorsync up` and `mentorsync gateway` run: which parts, with which settings."""

import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from mentorsync_gateway.config import Config, list_path, separate, without_access_log
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.errors import HostModuleError

from mentorsync.config import (
    DATABASE_URL,
    HEALTH_SOCKET_VARIABLE,
    LOG_LEVEL,
    METRICS_ADDRESS,
    Address,
    variables,
)
from mentorsync.dropped_lines import VARIABLE
from mentorsync.storage.urls import without_credentials
from mentorsync.supervisor.addresses import with_free_port
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.envoy import Envoy
from mentorsync.supervisor.output import Output, describe_addresses
from mentorsync.supervisor.part import Address as PartAddress
from mentorsync.supervisor.part import Part, PartError
from mentorsync.supervisor.ready import wait_until_ready
from mentorsync.supervisor.relay import Relay
from mentorsync.supervisor.restart import watch
from mentorsync.supervisor.server import Server
from mentorsync.supervisor.supervisor import Supervisor

APPLICATION = "mentorsync.embedded:app"
EMBEDDED_SETTINGS = (DATABASE_URL, METRICS_ADDRESS, LOG_LEVEL)  # the other addresses are Envoy's


async def up(settings: Namespace, output: Output) -> int:
    """Brings the schema up to date, then serves until a signal comes or a part ends. Returns the exit status."""

    async def work(supervisor: Supervisor) -> int | None:
        if status := await _migrate(settings, output):
            return status
        if settings.separate or settings.replicas > 1:
            await _run_separate(settings, supervisor)
        try:
            await _run_embedded(settings, supervisor, Path(directory, "health.sock"))
        except HostModuleError as error:
            output.say(f"{error}; running server and gateway as two processes instead")
            supervisor.discard()
            await _run_separate(settings, supervisor)
        return None

    with tempfile.TemporaryDirectory(prefix="mentorsync-") as directory:  # readable by this user alone
        return await Supervisor(output).run(work)


async def gateway(settings: Namespace, output: Output) -> int:
    """Runs the gateway alone, in front of servers that run elsewhere. Returns the exit status."""

    async def work(supervisor: Supervisor) -> None:
        envoy = Envoy("the gateway", _gateway_config(settings.upstream, settings), output.write_log)
        await supervisor.start(envoy)
        addresses = {name: str(Address(*address)) for name, address in envoy.addresses.items()}
        output.print(json.dumps({"event": "ready"} | addresses))
        await watch([envoy], [], output.say)

    return await Supervisor(output).run(work)


async def _migrate(settings: Namespace, output: Output) -> int:
    """Runs `mentorsync migrate`: a process of its own, since Peewee would stay in the supervisor's memory."""
    relay, printed = Relay(output.write_log), Relay(output.write_output)
    environment = os.environ | variables(settings, (DATABASE_URL,))
    try:
        child = await Child.start((sys.executable, "-m", "mentorsync", "migrate"), environment, relay)
    except OSError as error:
        raise PartError(f"the migration cannot be run: {error.strerror}") from error
    printed.follow(child.stdout)
    status = await child.wait()
    await printed.finish()
    return status


async def _run_embedded(settings: Namespace, supervisor: Supervisor, health_socket: Path) -> None:
    """One process: Envoy, with the service inside. The service serves gRPC's health and reflection on the socket."""
    settings = with_free_port(settings)
    config = embedded(
        APPLICATION,
        settings.rest_address,
        settings.gateway_admin_address,
        settings.grpc_address,
        str(health_socket),
    )
    descriptor = supervisor.output.dropped_lines.descriptor
    envoy = Envoy(
        "the service",
        _with_log_level(config, settings),
        supervisor.output.write_log,
        environment=embedded_environment()
        | variables(settings, EMBEDDED_SETTINGS)
        | {VARIABLE: str(descriptor), HEALTH_SOCKET_VARIABLE: str(health_socket)},
        descriptors=[descriptor],
    )
    await supervisor.start(envoy)
    addresses = {"grpc": envoy.addresses["service_grpc"], "metrics": settings.metrics_address}
    await _announce(settings, supervisor, envoy, [addresses])
    await watch([envoy], [], supervisor.output.say)


async def _run_separate(settings: Namespace, supervisor: Supervisor) -> None:
    """Envoy in front of one server or several. Of several, one that ends is started again: the others keep serving."""
    servers = _servers(settings, supervisor.output)
    await supervisor.start(*servers)
    upstreams = [Address(*server.addresses["grpc"]) for server in servers]
    envoy = Envoy("the gateway", _gateway_config(upstreams, settings), supervisor.output.write_log)
    await supervisor.start(envoy)
    await _announce(settings, supervisor, envoy, [server.addresses for server in servers])
    watched: list[Part] = [envoy]
    if settings.replicas > 1:
        await watch(watched, servers, supervisor.output.say)
    await watch([*watched, *servers], [], supervisor.output.say)


def _servers(settings: Namespace, output: Output) -> list[Server]:
    """The first server has the addresses of the settings and exports the supervisor's metric. The others take free
    ports.
    """
    free_ports = {
        "grpc_address": settings.grpc_address._replace(port=0),
        "metrics_address": settings.metrics_address._replace(port=0),
    }
    others = Namespace(**vars(settings) | free_ports)
    return [
        Server(settings, output.write_log, output.dropped_lines),
        *(Server(others, output.write_log, None) for _ in range(settings.replicas - 1)),
    ]


async def _announce(
    settings: Namespace, supervisor: Supervisor, envoy: Envoy, servers: Sequence[Mapping[str, PartAddress]]
) -> None:
    """Waits until the service answers, then prints all addresses."""
    path = list_path()
    await wait_until_ready(Address(*envoy.addresses["rest"]), path)
    database = without_credentials(settings.database_url)
    supervisor.output.print(describe_addresses(envoy.addresses, servers, database, path))


def _gateway_config(upstreams: Sequence[Address], settings: Namespace) -> Config:
    config = separate(settings.rest_address, settings.gateway_admin_address, upstreams, settings.gateway_grpc_address)
    return _with_log_level(config, settings)


def _with_log_level(config: Config, settings: Namespace) -> Config:
    return without_access_log(config) if settings.log_level in ("warning", "error") else config
