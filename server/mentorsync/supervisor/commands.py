"""The parts that `mentorsync up` and `mentorsync gateway` run, and their settings."""

import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from mentorsync_gateway.config import (
    Config,
    admin_place,
    list_path,
    listener_addresses,
    separate,
    shared,
    without_access_log,
)
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.errors import HostModuleError
from mentorsync_gateway.health import with_health
from mentorsync_gateway.pages import with_pages

from mentorsync.config import (
    DATABASE_URL,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    HEALTH_SOCKET_VARIABLE,
    JWT_ISSUER,
    LOG_LEVEL,
    METRICS_ADDRESS,
    REST_ADDRESS,
    STREAMS_PER_ADDRESS,
    Setting,
    variables,
)
from mentorsync.dropped_lines import VARIABLE
from mentorsync.exposed_addresses import warnings
from mentorsync.kinds import Address
from mentorsync.supervisor.addresses import held, with_free_ports
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.envoy import Envoy, Hosted
from mentorsync.supervisor.expiry import report_expiry
from mentorsync.supervisor.output import Output, describe_addresses
from mentorsync.supervisor.part import Address as PartAddress
from mentorsync.supervisor.part import Part, PartError
from mentorsync.supervisor.ready import Probe, wait_until_ready
from mentorsync.supervisor.relay import Relay
from mentorsync.supervisor.replica import Replica
from mentorsync.supervisor.replicas import Replicas
from mentorsync.supervisor.reports import reporting
from mentorsync.supervisor.restart import watch
from mentorsync.supervisor.security import check_servers_are_hidden, with_security
from mentorsync.supervisor.server import Server
from mentorsync.supervisor.supervisor import Supervisor
from mentorsync.supervisor.upstreams import report_upstreams

APPLICATION = "mentorsync.hosted:app"
EMBEDDED_SETTINGS = (
    DATABASE_URL,
    METRICS_ADDRESS,
    JWT_ISSUER,
    STREAMS_PER_ADDRESS,
    LOG_LEVEL,
)  # other addresses are Envoy's


async def up(settings: Namespace, output: Output) -> int:
    """Brings the schema up to date, then serves until a signal comes or a part ends. Returns the exit status."""

    async def work(supervisor: Supervisor) -> int | None:
        for warning in warnings(settings, REST_ADDRESS, GRPC_ADDRESS, GATEWAY_GRPC_ADDRESS):
            output.say(warning)
        admin_place(settings.gateway_admin_address)  # a refused address leaves the database as it is
        if status := await _migrate(settings, output):
            return status
        if settings.separate:
            await _run_separate(settings, supervisor, Path(directory))
        try:
            if not settings.database_url.startswith("sqlite:"):
                await _run_replicas(settings, supervisor, Path(directory))
            await _run_embedded(settings, supervisor, Path(directory, "health.sock"))
        except HostModuleError as error:
            output.say(f"{error}; running server and gateway as separate processes instead")
            supervisor.discard()
            await _run_separate(settings, supervisor, Path(directory))
        return None

    with tempfile.TemporaryDirectory(prefix="mentorsync-") as directory:  # readable by this user alone
        return await Supervisor(output).run(work)


async def gateway(settings: Namespace, output: Output) -> int:
    """Runs the gateway alone, in front of servers that run elsewhere. Returns the exit status."""

    async def work(supervisor: Supervisor) -> None:
        for warning in warnings(settings, REST_ADDRESS, GATEWAY_GRPC_ADDRESS):
            output.say(warning)
        config = _gateway_config(settings.upstream, settings, Path(directory))
        envoy = Envoy("the gateway", config, output.write_log)
        await supervisor.start(envoy)
        addresses = {name: str(Address(*address)) for name, address in envoy.addresses.items()}
        upstreams = [str(upstream) for upstream in settings.upstream]
        output.print(json.dumps({"event": "ready"} | addresses | {"upstreams": upstreams}))
        reports = report_upstreams(envoy, settings.upstream, output.say), report_expiry(envoy, settings, output.say)
        with reporting(*reports):
            await watch([envoy], [], output.say)

    with tempfile.TemporaryDirectory(prefix="mentorsync-") as directory:  # readable by this user alone
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
    with with_free_ports(settings, METRICS_ADDRESS) as own:
        config = _embedded_config(own, health_socket)
        descriptor = supervisor.output.dropped_lines.descriptor
        environment = _embedded_environment(own, health_socket) | {VARIABLE: str(descriptor)}
        service = Hosted(environment, own.metrics_address, [descriptor])
        envoy = Envoy("the service", config, supervisor.output.write_log, service)
        await supervisor.start(envoy)
        addresses = {"grpc": envoy.addresses["service_grpc"], "metrics": own.metrics_address}
        await _announce(own, supervisor, envoy.addresses, [addresses])
        with reporting(report_expiry(envoy, own, supervisor.output.say)):
            await watch([envoy], [], supervisor.output.say)


async def _run_replicas(settings: Namespace, supervisor: Supervisor, directory: Path) -> None:
    """Processes like that of `_run_embedded`, which share the addresses of their listeners.

    The first has the admin and metrics addresses of the settings, the others free ones. `directory` is for sockets.
    """
    output = supervisor.output
    others = _with_port_0(settings, GATEWAY_ADMIN_ADDRESS, METRICS_ADDRESS)
    with ExitStack() as stack:
        ports = stack.enter_context(held(listener_addresses(_embedded_config(settings, directory / "health.sock"))))
        own, *rest, stand_in = [
            stack.enter_context(with_free_ports(each, GATEWAY_ADMIN_ADDRESS, METRICS_ADDRESS))
            for each in (settings, *[others] * settings.replicas)
        ]
        first = _replica(own, ports, directory, output, exports_dropped_lines=True)
        replicas = [first, *(_replica(each, ports, directory, output) for each in rest)]
        keeper = Replicas(replicas, lambda: _replica(stand_in, ports, directory, output), supervisor)
        await supervisor.start(*replicas)
        grpc = first.addresses["service_grpc"]
        servers = [{"grpc": grpc, **replica.own_addresses} for replica in replicas]
        await _announce(settings, supervisor, first.addresses, servers)
        with reporting(report_expiry(first, settings, output.say)):  # all replicas have the same files
            await keeper.keep()


def _replica(
    settings: Namespace,
    ports: Mapping[str, int],
    directory: Path,
    output: Output,
    *,
    exports_dropped_lines: bool = False,
) -> Replica:
    """One of the replicas exports the number of lines that the supervisor dropped, with its own metrics."""
    health_socket = directory / f"health-{settings.gateway_admin_address.port}.sock"
    config = shared(_embedded_config(settings, health_socket), ports)
    environment = _embedded_environment(settings, health_socket)
    descriptors = [output.dropped_lines.descriptor] if exports_dropped_lines else []
    environment |= {VARIABLE: str(output.dropped_lines.descriptor)} if exports_dropped_lines else {}
    return Replica(config, output.write_log, Hosted(environment, settings.metrics_address, descriptors))


def _embedded_config(settings: Namespace, health_socket: Path) -> Config:
    config = embedded(
        APPLICATION,
        settings.rest_address,
        settings.gateway_admin_address,
        settings.grpc_address,
        str(health_socket),
    )
    return with_security(_adjusted(config, settings), settings, health_socket.parent)


def _embedded_environment(settings: Namespace, health_socket: Path) -> dict[str, str]:
    own = {HEALTH_SOCKET_VARIABLE: str(health_socket)}
    return embedded_environment() | variables(settings, EMBEDDED_SETTINGS) | own


def _with_port_0(settings: Namespace, *names: Setting) -> Namespace:
    addresses = {setting.name: getattr(settings, setting.name)._replace(port=0) for setting in names}
    return Namespace(**vars(settings) | addresses)


async def _run_separate(settings: Namespace, supervisor: Supervisor, directory: Path) -> None:
    """Envoy in front of one server or several. If one of several ends, it is restarted."""
    check_servers_are_hidden(settings)
    servers = _servers(settings, supervisor.output)
    await supervisor.start(*servers)
    upstreams = [Address(*server.addresses["grpc"]) for server in servers]
    envoy = Envoy("the gateway", _gateway_config(upstreams, settings, directory), supervisor.output.write_log)
    await supervisor.start(envoy)
    await _announce(settings, supervisor, envoy.addresses, [server.addresses for server in servers])
    watched: list[Part] = [envoy]
    with reporting(report_expiry(envoy, settings, supervisor.output.say)):
        if settings.replicas > 1:
            await watch(watched, servers, supervisor.output.say)
        await watch([*watched, *servers], [], supervisor.output.say)


def _servers(settings: Namespace, output: Output) -> list[Server]:
    """The first server has the addresses of the settings and exports the supervisor's metric. The others take free
    ports.
    """
    others = _with_port_0(settings, GRPC_ADDRESS, METRICS_ADDRESS)
    return [
        Server(settings, output.write_log, output.dropped_lines),
        *(Server(others, output.write_log, None) for _ in range(settings.replicas - 1)),
    ]


async def _announce(
    settings: Namespace,
    supervisor: Supervisor,
    gateway: Mapping[str, PartAddress],
    servers: Sequence[Mapping[str, PartAddress]],
) -> None:
    """Waits until the service answers, then prints all addresses."""
    path = list_path()
    probe = Probe(supervisor.output.probe_id, bool(settings.tls_certificate), bool(settings.jwt_issuer))
    await wait_until_ready(Address(*gateway["rest"]), path, probe)
    supervisor.output.print(describe_addresses(settings, gateway, servers, path))


def _gateway_config(upstreams: Sequence[Address], settings: Namespace, directory: Path) -> Config:
    config = separate(settings.rest_address, settings.gateway_admin_address, upstreams, settings.gateway_grpc_address)
    return with_security(_adjusted(config, settings), settings, directory)


def _adjusted(config: Config, settings: Namespace) -> Config:
    """The configuration with what is the same in every layout."""
    config = with_health(config, settings.health_address) if settings.health_address else config
    config = with_pages(config) if settings.pages else config
    return without_access_log(config) if settings.log_level in ("warning", "error") else config
