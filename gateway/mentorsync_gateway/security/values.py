"""The values of the security settings."""

from typing import NamedTuple


class Certificate(NamedTuple):
    """Paths of PEM files: a certificate with its chain, and the private key."""

    chain: str
    key: str


class Upstream(NamedTuple):
    """TLS to the servers. `ca` is the path of the certificates that sign theirs. `certificate` is the gateway's own."""

    ca: str
    certificate: Certificate | None


class Jwt(NamedTuple):
    """Whose tokens are accepted, and for whom they must have been made. `jwks` is a path or an https URL."""

    issuer: str
    audience: str
    jwks: str


class SecuritySettings(NamedTuple):
    """Everything is off by default. `rate_limit` is in requests a second for one address; 0 means no limit."""

    certificate: Certificate | None = None
    grpc_client_ca: str = ""
    upstream: Upstream | None = None
    jwt: Jwt | None = None
    rate_limit: int = 0
    trusted_proxies: int = 0
    cors_origins: tuple[str, ...] = ()
