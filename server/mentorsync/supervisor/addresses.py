"""Checks that addresses are free, and binds free ports, before a part is started."""

import errno
import socket
from argparse import Namespace

from mentorsync_gateway.errors import GatewayError

from mentorsync.config import (
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    METRICS_ADDRESS,
    REST_ADDRESS,
    Address,
    Setting,
    SettingsError,
)

LISTENERS = (GRPC_ADDRESS, REST_ADDRESS, METRICS_ADDRESS, GATEWAY_ADMIN_ADDRESS, GATEWAY_GRPC_ADDRESS)


def check_addresses(settings: Namespace) -> None:
    """Raises SettingsError when two settings name one address, or an address cannot be bound."""
    users: dict[Address, Setting] = {}
    for setting in LISTENERS:
        address = getattr(settings, setting.name)
        if address is None:
            continue
        if address.port and address in users:
            raise SettingsError(f"{users[address].variable} and {setting.variable} are both {address}")
        users[address] = setting
        try:
            check_free(setting.variable, address)
        except GatewayError as error:
            raise SettingsError(str(error)) from error


def check_free(setting: str, address: tuple[str, int]) -> None:
    """Raises GatewayError when an address cannot be bound. Envoy's own message would not name the setting."""
    host, port = address
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Envoy does: closed connections linger
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another process" if is_taken else f"cannot be listened on: {error.strerror}"
        raise GatewayError(f"{setting} {host}:{port} {reason}") from error


def with_free_port(settings: Namespace) -> Namespace:
    """The settings with a free port for metrics if theirs is 0. The embedded server cannot report the port it bound."""
    return Namespace(**vars(settings) | {METRICS_ADDRESS.name: find_free_port(settings.metrics_address)})


def find_free_port(address: Address) -> Address:
    """The address, with a port that is free now if its port is 0."""
    if address.port:
        return address
    with socket.socket(_family(address.host)) as probe:
        probe.bind(address)
        return Address(address.host, probe.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
