"""Addresses that replicas share: nobody else gets them, whether replicas listen there or not."""

import os
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from mentorsync.config import METRICS_ADDRESS
from mentorsync.kinds import Address
from mentorsync.supervisor.addresses import check_free, held, with_free_ports
from mentorsync_gateway.errors import GatewayError

from tests.postgres_server import NOBODY
from tests.server_process import WAIT_SECONDS, command, environment
from tests.up_process import LISTENERS

SETTING = "MENTORSYNC_REST_ADDRESS"
ANY_PORT = ("127.0.0.1", 0)
LISTEN = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is held, and on which nobody listens."""
    with held({SETTING: ANY_PORT}) as ports:
        yield ports[SETTING]


def listen_as(user: int, port: int) -> int:
    """The exit status of a process of this user that wants to share the port."""
    arguments = ("-c", LISTEN, str(port), str(user))
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode


def test_a_process_of_this_user_may_share_a_held_port(port: int) -> None:
    """As replicas do."""
    assert listen_as(os.geteuid(), port) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_process_of_another_user_may_not_share_a_held_port(port: int) -> None:
    assert listen_as(NOBODY, port) != 0


def test_a_held_port_is_not_free(port: int) -> None:
    """A second supervisor fails, although the replicas of the first do not listen yet."""
    with pytest.raises(GatewayError, match="is taken by another process"):
        check_free({SETTING: ("127.0.0.1", port)})


def test_a_held_port_gets_no_connections(port: int) -> None:
    """They are refused while no replica listens, so that no caller waits for an answer."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_port_that_another_process_would_share_is_an_error() -> None:
    """Replicas do not join whatever listens on their port already, even if that process allows it."""
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(ANY_PORT)
        stranger.listen()
        address = stranger.getsockname()
        with pytest.raises(GatewayError, match="is taken by another process"), held({SETTING: address}):
            pass


def test_a_free_port_is_nobody_elses_before_its_server_listens() -> None:
    """Its server gets it also when it is started again."""
    with with_free_ports(Namespace(metrics_address=Address(*ANY_PORT)), METRICS_ADDRESS) as settings:
        for _ in range(2):
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind(settings.metrics_address)
            with socket.create_server(settings.metrics_address):
                pass


def test_a_closed_terminal_stops_the_service(tmp_path: Path) -> None:
    """The kernel's SIGHUP then means the end, and does not leave a service behind that nobody sees."""
    master, slave = os.openpty()
    settings = dict.fromkeys(LISTENERS, "127.0.0.1:0") | {"database_url": f"sqlite:///{tmp_path}/mentorsync.db"}
    take_terminal = ("setsid", "--ctty", "--wait")
    with subprocess.Popen(
        [*take_terminal, *command("up")], env=environment(settings), stdin=slave, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(slave)
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
        os.close(master)
        try:
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.send_signal(signal.SIGTERM)
