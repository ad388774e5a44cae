"""The gateway's limits for what callers can occupy. The attacks in tests/attacks show what the limits are for."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any
from urllib.request import urlopen

import httpx
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Address, Config, separate
from mentorsync_gateway.health import with_health

from tests.attacks.attacker import unfinished_headers
from tests.attacks.frames import RST_STREAM, frame, opening
from tests.attacks.under_attack import attacked
from tests.rest.answers import assert_unavailable, serve_config
from tests.server_process import wait_until

FREE_PORT: Address = ("127.0.0.1", 0)
NOWHERE: list[Address] = [("127.0.0.1", 1)]
MOST_CONNECTIONS, MOST_REST_CONNECTIONS = 200, 190  # 95 %: from 90 % on, idle connections are closed soonest
WAIT_SECONDS = 20
MOST_REFUSED_SECONDS = 10  # of a newcomer while idle callers hold all connections; usually they may be idle for 300 s
NEWCOMERS = 5

StartGateway = Callable[[Config], Envoy]


def config_with_few_connections(idle_timeout: str | None = None) -> Config:
    """A gateway that takes few connections, not all of them for REST. `idle_timeout` replaces the shortest one."""
    config = separate(FREE_PORT, FREE_PORT, NOWHERE, FREE_PORT)
    overload: dict[str, Any] = config["overload_manager"]
    overload["resource_monitors"][0]["typed_config"]["max_active_downstream_connections"] = MOST_CONNECTIONS
    limits: dict[str, Any] = config["layered_runtime"]["layers"][0]["static_layer"]
    limits["envoy.resource_limits.listener.rest.connection_limit"] = MOST_REST_CONNECTIONS
    if idle_timeout:
        (timeouts,) = (action for action in overload["actions"] if action["name"].endswith("reduce_timeouts"))
        timeouts["typed_config"]["timer_scale_factors"][0]["min_timeout"] = idle_timeout
    return config


def fill(gateway: Envoy, stack: ExitStack) -> None:
    """Holds all connections. Waits until Envoy's threads have accepted them: each has a queue of its own."""
    rest, grpc = gateway.addresses["rest"], gateway.addresses["grpc"]
    for address in [rest] * MOST_REST_CONNECTIONS + [grpc] * (MOST_CONNECTIONS - MOST_REST_CONNECTIONS):
        stack.enter_context(socket.create_connection(address, timeout=WAIT_SECONDS))
    wait_until(lambda: held_connections(gateway) == MOST_CONNECTIONS, "all connections")


def held_connections(gateway: Envoy) -> int:
    host, port = gateway.addresses["admin"]
    with urlopen(f"http://{host}:{port}/stats?filter=^listener.*downstream_cx_active$") as response:
        lines = response.read().decode().splitlines()
    return sum(int(line.split()[-1]) for line in lines if "worker_" not in line and "admin" not in line)


def test_idle_connections_make_room_for_newcomers(start_gateway: StartGateway) -> None:
    """The more connections there are, the sooner an idle one is closed. Usually it may be idle for 300 s."""
    host, port = start_gateway(config_with_few_connections("0.1s")).addresses["rest"]
    with ExitStack() as stack:
        for _ in range(MOST_REST_CONNECTIONS):
            idle = stack.enter_context(socket.create_connection((host, port), timeout=WAIT_SECONDS))
        assert idle.recv(1) == b""
        assert httpx.get(f"http://{host}:{port}/nothing", timeout=WAIT_SECONDS).status_code == httpx.codes.NOT_FOUND


def test_newcomers_are_not_shut_out_by_idle_callers_who_come_back(start_gateway: StartGateway) -> None:
    """One caller holds all connections, and opens each again once it is closed."""
    url = serve_config(start_gateway, config_with_few_connections())
    with attacked(url, "idle", MOST_CONNECTIONS):
        for _ in range(NEWCOMERS):
            started = time.monotonic()
            while not is_answered(url):
                assert time.monotonic() - started < MOST_REFUSED_SECONDS


def is_answered(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/nothing", timeout=WAIT_SECONDS).status_code == httpx.codes.NOT_FOUND
    return False


def test_callers_of_rest_leave_connections_to_callers_of_grpc(start_gateway: StartGateway) -> None:
    """Services, and probes of gRPC's health, are served while callers of REST hold all that they can get."""
    gateway = start_gateway(config_with_few_connections("300s"))
    rest, grpc = gateway.addresses["rest"], gateway.addresses["grpc"]
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(socket.create_connection(rest, timeout=WAIT_SECONDS))
        with socket.create_connection(grpc, timeout=WAIT_SECONDS) as served:
            served.sendall(opening())
            assert served.recv(1)


def test_the_health_has_an_address_that_callers_cannot_fill(start_gateway: StartGateway) -> None:
    """Otherwise a load balancer would take every replica out of use. Probes do not change how many callers are served.

    The health is bad here, since there is no server.
    """
    gateway = start_gateway(with_health(config_with_few_connections("300s"), FREE_PORT))
    rest, grpc, (host, port) = (gateway.addresses[name] for name in ("rest", "grpc", "health"))
    with ExitStack() as stack:
        fill(gateway, stack)
        for _ in range(2):
            assert_unavailable(httpx.get(f"http://{host}:{port}/healthz", timeout=WAIT_SECONDS))
            for address in (rest, grpc):
                with socket.create_connection(address, timeout=WAIT_SECONDS) as refused:
                    assert refused.recv(1) == b""


def test_the_admin_interface_answers_while_callers_hold_all_connections(start_gateway: StartGateway) -> None:
    """Otherwise the supervisor would take Envoy for hung, and end it."""
    gateway = start_gateway(config_with_few_connections("300s"))
    rest, grpc, (host, port) = (gateway.addresses[name] for name in ("rest", "grpc", "admin"))
    with ExitStack() as stack:
        fill(gateway, stack)
        for address in (rest, grpc):
            with socket.create_connection(address, timeout=WAIT_SECONDS) as refused:
                assert refused.recv(1) == b""
        with urlopen(f"http://{host}:{port}/ready", timeout=WAIT_SECONDS) as response:
            assert response.read() == b"LIVE\n"


def test_http_2_headers_that_never_end_are_given_up(start_gateway: StartGateway) -> None:
    """The request is answered with 408 and reset. Its connection is then idle, and closed as others are."""
    url = serve_config(start_gateway, separate(FREE_PORT, FREE_PORT, NOWHERE))
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), timeout=WAIT_SECONDS) as connection:
        connection.sendall(b"".join(unfinished_headers()))
        received = b""
        while frame(RST_STREAM, 0, 1, bytes(4)) not in received:
            received += connection.recv(4096)
    assert b'"message":"request header timeout"' in received
