"""The settings: each is an environment variable, and a flag of the commands that use it."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from mentorsync import kinds
from mentorsync.kinds import Kind

PREFIX = "MENTORSYNC_"
SIMILARITY = 0.75  # of two names, from 0 to 1: one or two wrong letters
MAX_STREAMS = 10_000  # of one process
MAX_RATE = 1_000_000  # requests a second for one address: far above what one process can serve
MAX_PROXIES = 10  # proxies in a row: a larger number is a mistake
# Not a setting: the supervisor gives the embedded service the path of the Unix socket for health and reflection.
HEALTH_SOCKET_VARIABLE = "MENTORSYNC_HEALTH_SOCKET"
# Nor is this: the number of a descriptor, inherited from the supervisor, that reaches its end when a stop begins.
STOP_DESCRIPTOR_VARIABLE = "MENTORSYNC_STOP_DESCRIPTOR"


class SettingsError(Exception):
    """A setting has no usable value. The message names the setting and says which values are valid."""


class Setting(NamedTuple):
    """One setting. The variable is MENTORSYNC_ and the name in upper case. The flag is the name with dashes.

    `meaning` completes "--flag: ...".
    """

    name: str
    default: str
    kind: Kind
    meaning: str
    is_secret: bool = False  # neither the value nor an error text that may contain a part of it is printed

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


DATABASE_URL = Setting(
    "database_url",
    "sqlite:///mentorsync.db",
    kinds.DATABASE,
    "URL of the database",
    is_secret=True,  # it may hold a password
)
GRPC_ADDRESS = Setting("grpc_address", "127.0.0.1:50051", kinds.ADDRESS, "address where the service listens for gRPC")
REST_ADDRESS = Setting("rest_address", "127.0.0.1:8080", kinds.ADDRESS, "address where the gateway listens for REST")
METRICS_ADDRESS = Setting(
    "metrics_address", "127.0.0.1:9464", kinds.ADDRESS, "address where the service listens for /metrics"
)
GATEWAY_ADMIN_ADDRESS = Setting(
    "gateway_admin_address", "127.0.0.1:9901", kinds.ADDRESS, "address of Envoy's admin interface"
)
GATEWAY_GRPC_ADDRESS = Setting(
    "gateway_grpc_address",
    "",
    kinds.OPTIONAL_ADDRESS,
    "address where the gateway balances gRPC over all servers, for internal callers; not for the one-process mode",
)
HEALTH_ADDRESS = Setting(
    "health_address",
    "",
    kinds.OPTIONAL_ADDRESS,
    "address where the gateway answers /healthz alone, in plain HTTP, even while callers hold all connections",
)
STREAMS_PER_ADDRESS = Setting(
    "streams_per_address",
    "20",
    kinds.count(MAX_STREAMS),
    "maximum of live feed streams for one client address; clients behind a proxy that hides them count as one",
)
TLS_CERTIFICATE = Setting("tls_certificate", "", kinds.FILE, "certificate with its chain, for TLS on REST and gRPC")
PAGES = Setting(
    "pages", "on", kinds.SWITCH, "whether the gateway serves /docs, /console and /openapi.yaml at the REST address"
)
TLS_KEY = Setting("tls_key", "", kinds.FILE, "private key of the certificate")
GRPC_CLIENT_CA = Setting("grpc_client_ca", "", kinds.FILE, "CA whose certificates gRPC callers must have; needs TLS")
UPSTREAM_CA = Setting(
    "upstream_ca",
    "",
    kinds.FILE,
    "CA of the servers' certificates; if it is given, the gateway uses TLS to the servers",
)
UPSTREAM_CERTIFICATE = Setting(
    "upstream_certificate", "", kinds.FILE, "certificate that the gateway sends to its servers"
)
UPSTREAM_KEY = Setting("upstream_key", "", kinds.FILE, "private key of that certificate")
JWT_ISSUER = Setting(
    "jwt_issuer", "", kinds.TEXT, "issuer (iss) of the tokens; if it is given, every call needs a token"
)
JWT_AUDIENCE = Setting("jwt_audience", "", kinds.TEXT, "audience (aud) that a token must name")
JWT_JWKS = Setting("jwt_jwks", "", kinds.JWKS, "file or https URL of the issuer's public keys")
RATE_LIMIT = Setting(
    "rate_limit", "0", kinds.number(MAX_RATE), "requests per second that one client address may make; 0 for no limit"
)
TRUSTED_PROXIES = Setting(
    "trusted_proxies",
    "0",
    kinds.number(MAX_PROXIES),
    "number of proxies in front that add the client's address to x-forwarded-for",
)
CORS_ORIGINS = Setting(
    "cors_origins", "", kinds.ORIGINS, "origins of the web pages that may call REST, separated by commas; * for all"
)
# The security settings towards callers of the gateway, those of a server, and those between the two.
SECURITY_SETTINGS = (
    *(TLS_CERTIFICATE, TLS_KEY, GRPC_CLIENT_CA, JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS),
    *(RATE_LIMIT, TRUSTED_PROXIES, CORS_ORIGINS),
)
SERVER_SECURITY_SETTINGS = (TLS_CERTIFICATE, TLS_KEY, GRPC_CLIENT_CA, JWT_ISSUER)
UPSTREAM_SECURITY_SETTINGS = (UPSTREAM_CA, UPSTREAM_CERTIFICATE, UPSTREAM_KEY)
URL = Setting("url", "http://127.0.0.1:8080", kinds.SERVICE_URL, "URL of the service's REST address")
TOKEN = Setting("token", "", kinds.TEXT, "token for every call, if the service requires tokens", is_secret=True)
TOKEN_FILE = Setting("token_file", "", kinds.FILE, "file that holds the token, so that no process list shows it")
LOG_LEVEL = Setting("log_level", "info", kinds.LEVEL, "least severe level that is logged")
LOG_FORMAT = Setting(
    "log_format",
    "auto",
    kinds.FORMAT,
    "log lines as text for people, as JSON, or (auto) as text on a terminal and as JSON elsewhere",
)


def add_flags(parser: ArgumentParser, settings: tuple[Setting, ...]) -> None:
    for setting in settings:
        parser.add_argument(
            setting.flag,
            metavar=setting.kind.metavar or setting.name.rpartition("_")[2].upper(),
            help=f"{setting.meaning} (default {setting.default or 'none'}; variable {setting.variable})",
        )


def resolve(arguments: Namespace, settings: tuple[Setting, ...], environment: Mapping[str, str] = os.environ) -> Any:
    """The values of settings by name: from the flag, else from the variable, else the default. Raises SettingsError."""
    values = {}
    for setting in settings:
        given = getattr(arguments, setting.name, None)
        text = environment.get(setting.variable, setting.default) if given is None else given
        try:
            values[setting.name] = setting.kind.parse(text)
        except ValueError:
            shown = "" if setting.is_secret else f", not {text!r}"
            raise SettingsError(f"{setting.variable} (or {setting.flag}) {setting.kind.rule}{shown}") from None
    return Namespace(**values)


def misspelt(settings: Iterable[Setting], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that look like a misspelt setting, each with the setting's variable.

    Others with the prefix pass: Kubernetes sets MENTORSYNC_PORT and more for a service of this name.
    """
    known = [setting.variable.removeprefix(PREFIX) for setting in settings]
    given = [name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)]
    similar = {name: _similar(name, known) for name in given if name not in known}
    return {PREFIX + name: PREFIX + names[0] for name, names in similar.items() if names}


def _similar(name: str, known: Sequence[str]) -> list[str]:
    """The names that may have been meant, such as TLS_CERTIFICATE by TLS_CERT. The first is the most likely one."""
    return [one for one in known if one.startswith(name)] or get_close_matches(name, known, 1, SIMILARITY)


def variables(values: Namespace, settings: tuple[Setting, ...]) -> dict[str, str]:
    """The environment variables that give these settings to another process."""
    return {setting.variable: str(getattr(values, setting.name)) for setting in settings}
