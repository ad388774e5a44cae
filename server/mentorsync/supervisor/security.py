"""Adds the security settings to the configuration of the gateway."""

from argparse import Namespace
from pathlib import Path

from mentorsync_gateway import security
from mentorsync_gateway.config import Config
from mentorsync_gateway.errors import GatewayError
from mentorsync_gateway.security.values import Certificate, Jwt, SecuritySettings, Upstream

from mentorsync.config import GATEWAY_GRPC_ADDRESS, GRPC_ADDRESS
from mentorsync.exposed_addresses import is_loopback


def with_security(config: Config, settings: Namespace, directory: Path) -> Config:
    """Adds the security settings to a configuration. `directory` must exist for as long as Envoy runs."""
    security.apply(config, _security(settings), directory)
    return config


def check_servers_are_hidden(settings: Namespace) -> None:
    """Raises GatewayError if other machines could reach servers that rely on the gateway of this machine.

    The gateway checks tokens, and speaks to the servers without TLS.
    """
    is_locked = settings.tls_certificate or settings.jwt_issuer or settings.rate_limit
    if is_locked and not is_loopback(settings.grpc_address):
        raise GatewayError(
            f"{GRPC_ADDRESS.variable} {settings.grpc_address} must be a loopback address: in separate processes, only "
            f"the gateway checks callers; it serves gRPC at {GATEWAY_GRPC_ADDRESS.variable}"
        )


def _security(settings: Namespace) -> SecuritySettings:
    return SecuritySettings(
        certificate=_certificate(settings.tls_certificate, settings.tls_key),
        grpc_client_ca=settings.grpc_client_ca,
        upstream=_upstream(settings),
        jwt=_jwt(settings),
        rate_limit=settings.rate_limit,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=settings.cors_origins,
    )


def _certificate(chain: str, key: str) -> Certificate | None:
    return Certificate(chain, key) if chain else None


def _upstream(settings: Namespace) -> Upstream | None:
    """Only `mentorsync gateway` has servers on other machines."""
    ca = getattr(settings, "upstream_ca", "")
    return Upstream(ca, _certificate(settings.upstream_certificate, settings.upstream_key)) if ca else None


def _jwt(settings: Namespace) -> Jwt | None:
    return Jwt(settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks) if settings.jwt_issuer else None
