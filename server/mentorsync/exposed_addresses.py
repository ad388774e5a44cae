"""Warnings about addresses that other machines can reach without TLS or without tokens."""

import ipaddress
from argparse import Namespace
from collections.abc import Iterator

from mentorsync.config import (
    GRPC_ADDRESS,
    GRPC_CLIENT_CA,
    JWT_AUDIENCE,
    JWT_ISSUER,
    JWT_JWKS,
    TLS_CERTIFICATE,
    TLS_KEY,
    Setting,
    SettingsError,
)
from mentorsync.kinds import Address


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach an address. A name counts as loopback if it is localhost."""
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"


def warnings(settings: Namespace, *addresses: Setting) -> Iterator[str]:
    """A warning for each of these addresses that other machines can reach and that lacks TLS or tokens."""
    missing = []
    if not settings.tls_certificate:
        missing.append(f"without TLS ({_names(TLS_CERTIFICATE, TLS_KEY)})")
    if not settings.jwt_issuer:
        missing.append(f"without tokens ({_names(JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS)})")
    for setting in addresses:
        address = getattr(settings, setting.name)
        if missing and address and not is_loopback(address):
            yield f"{setting.variable} {address}: other machines can reach it {' and '.join(missing)}"


def check_server_is_hidden(settings: Namespace) -> None:
    """Raises SettingsError if other machines could call a server that trusts the headers of its gateway."""
    if settings.jwt_issuer and not settings.grpc_client_ca and not is_loopback(settings.grpc_address):
        raise SettingsError(
            f"{GRPC_ADDRESS.variable} {settings.grpc_address} needs {GRPC_CLIENT_CA.variable}: with "
            f"{JWT_ISSUER.variable}, the server trusts its gateway's headers, so only the gateway may reach it"
        )


def _names(*settings: Setting) -> str:
    return ", ".join(setting.variable for setting in settings)
