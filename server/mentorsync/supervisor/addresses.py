"""Checks that addresses are free, finds free ports, and holds shared addresses, before a part is started."""

import errno
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from mentorsync_gateway.errors import GatewayError

from mentorsync.config import (
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    HEALTH_ADDRESS,
    METRICS_ADDRESS,
    REST_ADDRESS,
    Setting,
    SettingsError,
)
from mentorsync.kinds import Address

LISTENERS = (GRPC_ADDRESS, REST_ADDRESS, METRICS_ADDRESS, HEALTH_ADDRESS, GATEWAY_ADMIN_ADDRESS, GATEWAY_GRPC_ADDRESS)


def check_addresses(settings: Namespace) -> None:
    """Raises SettingsError when two settings name one address, or addresses cannot be bound."""
    users: dict[Address, Setting] = {}
    addresses: dict[str, Address] = {}
    for setting in LISTENERS:
        address = getattr(settings, setting.name, None)
        if address is None:
            continue
        if address.port and address in users:
            raise SettingsError(f"{users[address].variable} and {setting.variable} are both {address}")
        users[address] = setting
        addresses[setting.variable] = address
    try:
        check_free(addresses)
    except GatewayError as error:
        raise SettingsError(str(error)) from error


def check_free(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Raises GatewayError with all addresses that cannot be bound. Envoy would name the first, without its setting."""
    problems = [problem for setting, address in addresses.items() if (problem := _problem(setting, address))]
    if problems:
        raise GatewayError("; ".join(problems))


def _problem(setting: str, address: tuple[str, int]) -> str | None:
    """Why an address cannot be bound."""
    host, port = address
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Envoy does: closed connections linger
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        reason = f"cannot be listened on: {error.strerror}"
        if is_taken:
            reason = "is taken by another process: stop that process, or set another address"
        return f"{setting} {host}:{port} {reason}"
    return None


@contextmanager
def with_free_ports(settings: Namespace, *names: Setting) -> Iterator[Namespace]:
    """The settings with a free port where one of these has port 0: an embedded server cannot report what it bound.

    They are held during the block: nobody else gets such a port before its server listens, or between two starts of it.
    """
    with ExitStack() as stack:
        given = {setting.name: getattr(settings, setting.name) for setting in names}
        free = {name: stack.enter_context(_with_free_port(address)) for name, address in given.items()}
        yield Namespace(**vars(settings) | free)


@contextmanager
def _with_free_port(address: Address) -> Iterator[Address]:
    """The address, with a free port if its port is 0. The kernel gives a port that a socket holds to nobody else, but a
    server that asks for this very port may listen there if both set SO_REUSEADDR, as Envoy and the metrics server do.
    """
    if address.port:
        yield address
        return
    with socket.socket(_family(address.host)) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        yield Address(address.host, holder.getsockname()[1])


@contextmanager
def held(addresses: Mapping[str, tuple[str, int]]) -> Iterator[dict[str, int]]:
    """Holds addresses, given by setting, that several child processes share. Gives the port of each.

    The kernel lets sockets share a port only if all of them ask for it (SO_REUSEPORT) and have one effective user. So
    while the address is held, nobody else can have it, also between the end of one child and the start of the next. A
    socket that is bound and does not listen gets no connections.
    Raises GatewayError when another process has an address: without SO_REUSEPORT on our side, that is always an error.
    """
    with ExitStack() as stack:
        ports = {}
        for setting, (host, port) in addresses.items():
            check_free({setting: (host, port)})
            holder = stack.enter_context(socket.socket(_family(host)))
            ports[setting] = _hold(holder, setting, (host, port))
        yield ports


def _hold(holder: socket.socket, setting: str, address: tuple[str, int]) -> int:
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections linger
    try:
        holder.bind(address)
    except OSError as error:
        raise GatewayError(f"{setting} {address[0]}:{address[1]} cannot be held: {error.strerror}") from error
    # From now on `check_free` of another supervisor fails, although nothing listens here yet.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    port: int = holder.getsockname()[1]
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
