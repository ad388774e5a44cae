"""Callers who hang up do not fail the calls of others, although the gateway sends all calls on shared connections."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Address, Config, contract_routes, separate

from tests.faults.callers import submit
from tests.rest.answers import FREE_PORT, StartGateway
from tests.rest.test_balancing import without_health_checks
from tests.server_process import wait_until

ENVOY_LIMIT = 1_000  # of frames about resets that wait to be written; above it, Envoy closes the whole connection
WORKERS = os.cpu_count() or 1  # of Envoy; each has its own connection to the server
SMALL_BUFFER = 4_096  # so that frames wait in Envoy, and not in the kernel
RESETS = "cluster.mentorsync.upstream_rq_tx_reset"


@pytest.fixture
def busy_server() -> Iterator[socket.socket]:
    """A server that reads nothing, as one that is too busy to read."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        listener.bind(FREE_PORT)
        listener.listen()
        yield listener


def without_room(config: Config) -> Config:
    """The configuration with a small buffer in the kernel, and without pings, which a busy server would miss."""
    cluster = without_health_checks(config)["static_resources"]["clusters"][0]
    cluster["upstream_bind_config"] = {
        "source_address": {"address": "127.0.0.1", "port_value": 0},
        "socket_options": [{"level": socket.SOL_SOCKET, "name": socket.SO_SNDBUF, "int_value": SMALL_BUFFER}],
    }
    (options,) = cluster["typed_extension_protocol_options"].values()
    del options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    for route in contract_routes(config):  # on a slow machine, the waiting calls would reach their time limits
        route["route"] |= {"timeout": "0s", "idle_timeout": "0s"}
    return config


def test_waiting_calls_survive_callers_who_hang_up(start_gateway: StartGateway, busy_server: socket.socket) -> None:
    """Calls that wait for the server go on waiting, however many others were given up."""
    gateway = start_gateway(without_room(separate(FREE_PORT, FREE_PORT, [busy_server.getsockname()])))
    rest = gateway.addresses["rest"]
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(rest)) for _ in range(8 * WORKERS)]
        for caller in waiting:
            caller.sendall(submit())
        wait_until(lambda: stat(gateway, "cluster.mentorsync.upstream_rq_active") == len(waiting), "the calls")
        while stat(gateway, RESETS) < 2 * ENVOY_LIMIT * WORKERS:
            hang_up(rest, 200)
        assert not select.select(waiting, [], [], 0)[0]


def hang_up(rest: Address, times: int) -> None:
    for _ in range(times):
        with socket.create_connection(rest) as caller:
            caller.sendall(submit())


def stat(gateway: Envoy, name: str) -> int:
    host, port = gateway.addresses["admin"]
    lines = httpx.get(f"http://{host}:{port}/stats", params={"filter": f"^{name}$"}).text.splitlines()
    return int(lines[0].split(": ")[1])
