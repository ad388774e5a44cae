"""The gateway's limits for what callers can occupy. The attacks in tests/attacks show what the limits are for."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.request import urlopen

import httpx
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Address, Config, separate

from tests.attacks.attacker import unfinished_headers
from tests.attacks.frames import RST_STREAM, frame
from tests.rest.answers import serve_config

FREE_PORT: Address = ("127.0.0.1", 0)
NOWHERE: list[Address] = [("127.0.0.1", 1)]
MOST_CONNECTIONS = 20
WAIT_SECONDS = 20

StartGateway = Callable[[Config], Envoy]


def config_with_few_connections(idle_timeout: str) -> Config:
    """A gateway that takes 20 connections. `idle_timeout` is the shortest one, which it uses when it is full."""
    config = separate(FREE_PORT, FREE_PORT, NOWHERE)
    overload: dict[str, Any] = config["overload_manager"]
    overload["resource_monitors"][0]["typed_config"]["max_active_downstream_connections"] = MOST_CONNECTIONS
    (timeouts,) = (action for action in overload["actions"] if action["name"].endswith("reduce_timeouts"))
    timeouts["typed_config"]["timer_scale_factors"][0]["min_timeout"] = idle_timeout
    return config


def test_idle_connections_make_room_for_newcomers(start_gateway: StartGateway) -> None:
    """The more connections there are, the sooner an idle one is closed. Usually it may be idle for 300 s."""
    host, port = start_gateway(config_with_few_connections("0.1s")).addresses["rest"]
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            idle = stack.enter_context(socket.create_connection((host, port), timeout=WAIT_SECONDS))
        assert idle.recv(1) == b""
        assert httpx.get(f"http://{host}:{port}/nothing", timeout=WAIT_SECONDS).status_code == httpx.codes.NOT_FOUND


def test_the_admin_interface_answers_while_callers_hold_all_connections(start_gateway: StartGateway) -> None:
    """Otherwise the supervisor would take Envoy for hung, and end it."""
    gateway = start_gateway(config_with_few_connections("300s"))
    rest, (host, port) = gateway.addresses["rest"], gateway.addresses["admin"]
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(socket.create_connection(rest, timeout=WAIT_SECONDS))
        with socket.create_connection(rest, timeout=WAIT_SECONDS) as refused:
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
