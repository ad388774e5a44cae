"""The settings: each is an environment variable, and a flag of the commands that use it."""

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mentorsync.storage.urls import PERCENT_ENCODING, is_unambiguous

MAX_PORT = 65_535
MAX_STREAMS = 10_000  # of one process
COUNT_RULE = "must be a number from 1 to {}"
LOG_LEVELS = ("debug", "info", "warning", "error")
ADDRESS_RULE = "must be host:port with a port from 0 to 65535, such as 127.0.0.1:8080"
LOG_LEVEL_RULE = f"must be one of {', '.join(LOG_LEVELS)}"
SWITCH_RULE = "must be on or off"
LOG_FORMATS = ("auto", "text", "json")
LOG_FORMAT_RULE = f"must be one of {', '.join(LOG_FORMATS)}"
DATABASE_URL_RULE = (
    "must be sqlite:///file.db (relative), sqlite:////path/to/file.db (absolute) or "
    f"postgresql://user:password@host:port/name; {PERCENT_ENCODING}"
)
NUMBER_RULE = "must be a whole number from 0 to {}"
MAX_RATE = 1_000_000  # requests a second for one address: far above what one process can serve
MAX_PROXIES = 10  # proxies in a row: a larger number is a mistake
FILE_RULE = "must be the path of a PEM file"
JWKS_RULE = "must be the path of a file with a JSON Web Key Set, or an https URL"
ORIGINS_RULE = "must be * or origins with commas between them, such as https://app.example.org,http://localhost:3000"
TEXT_RULE = "must not contain control characters"
# Not a setting: the supervisor gives the embedded service the path of the Unix socket for health and reflection.
HEALTH_SOCKET_VARIABLE = "MENTORSYNC_HEALTH_SOCKET"
# Nor is this: the number of a descriptor, inherited from the supervisor, that reaches its end when a stop begins.
STOP_DESCRIPTOR_VARIABLE = "MENTORSYNC_STOP_DESCRIPTOR"


ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.ASCII)  # as browsers send it: in lower case, without a path


class SettingsError(Exception):
    """A setting has no usable value. The message names the setting and says which values are valid."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parses host:port, with an IPv6 host in brackets. Port 0 means any free port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= MAX_PORT) or set(host) & set("[]"):
        raise ValueError(ADDRESS_RULE)
    return Address(host, int(port))


def parse_optional_address(text: str) -> Address | None:
    """As parse_address, but an empty text means that there is no address."""
    return parse_address(text) if text else None


def parse_log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(LOG_LEVEL_RULE)
    return text.lower()


def parse_log_format(text: str) -> str:
    if text not in LOG_FORMATS:
        raise ValueError(LOG_FORMAT_RULE)
    return text


def parse_switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(SWITCH_RULE)
    return text == "on"


def parse_database_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    is_file = scheme == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:") and not rest.endswith("/")
    is_postgres = scheme in ("postgresql", "postgres") and rest.strip("/") != ""
    if not separator or not (is_file or (is_postgres and is_unambiguous(text))):
        raise ValueError(DATABASE_URL_RULE)
    return text


def parse_text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(TEXT_RULE)
    return text


def parse_file(text: str) -> str:
    """The absolute path of a file, since Envoy resolves relative ones elsewhere. Empty for none."""
    return str(Path(text).absolute()) if text else ""


def parse_jwks(text: str) -> str:
    if "://" not in text:
        return parse_file(text)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username:
        raise ValueError(JWKS_RULE)
    return text


def parse_origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",")) if text else ()
    if not all(origin == "*" or ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError(ORIGINS_RULE)
    return origins


def parse_number(text: str, minimum: int, maximum: int, rule: str) -> int:
    """Raises ValueError, with the rule in which the maximum is filled in."""
    if not (text.isascii() and text.isdigit() and minimum <= int(text) <= maximum):
        raise ValueError(rule.format(maximum))
    return int(text)


def parse_count(text: str, maximum: int) -> int:
    return parse_number(text, 1, maximum, COUNT_RULE)


def number_parser(maximum: int) -> Callable[[str], int]:
    return lambda text: parse_number(text, 0, maximum, NUMBER_RULE)


class Setting(NamedTuple):
    """One setting. The variable is MENTORSYNC_ and the name in upper case. The flag is the name with dashes.

    `parse` raises ValueError for a text that does not follow `rule`. `meaning` completes "--flag: ...". `metavar`
    stands for the value in `--help`; without one, that is the last word of the name.
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    rule: str
    meaning: str
    metavar: str = ""
    is_secret: bool = False  # neither the value nor an error text that may contain a part of it is printed

    @property
    def variable(self) -> str:
        return f"MENTORSYNC_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


DATABASE_URL = Setting(
    "database_url",
    "sqlite:///mentorsync.db",
    parse_database_url,
    DATABASE_URL_RULE,
    "URL of the database",
    is_secret=True,  # it may hold a password
)
GRPC_ADDRESS = Setting(
    "grpc_address",
    "127.0.0.1:50051",
    parse_address,
    ADDRESS_RULE,
    "address where the service listens for gRPC",
    metavar="HOST:PORT",
)
REST_ADDRESS = Setting(
    "rest_address",
    "127.0.0.1:8080",
    parse_address,
    ADDRESS_RULE,
    "address where the gateway listens for REST",
    metavar="HOST:PORT",
)
METRICS_ADDRESS = Setting(
    "metrics_address",
    "127.0.0.1:9464",
    parse_address,
    ADDRESS_RULE,
    "address where the service listens for /metrics",
    metavar="HOST:PORT",
)
GATEWAY_ADMIN_ADDRESS = Setting(
    "gateway_admin_address",
    "127.0.0.1:9901",
    parse_address,
    ADDRESS_RULE,
    "address of Envoy's admin interface",
    metavar="HOST:PORT",
)
GATEWAY_GRPC_ADDRESS = Setting(
    "gateway_grpc_address",
    "",
    parse_optional_address,
    ADDRESS_RULE,
    "address where the gateway balances gRPC over all servers, for internal callers; not for the one-process mode",
    metavar="HOST:PORT",
)
STREAMS_PER_ADDRESS = Setting(
    "streams_per_address",
    "20",
    lambda text: parse_count(text, MAX_STREAMS),
    COUNT_RULE.format(MAX_STREAMS),
    "most streams of the live feed for one client address; all clients behind a proxy that hides them count as one",
    metavar="N",
)
TLS_CERTIFICATE = Setting(
    "tls_certificate", "", parse_file, FILE_RULE, "certificate with its chain, for TLS on REST and gRPC", metavar="FILE"
)
PAGES = Setting(
    "pages",
    "on",
    parse_switch,
    SWITCH_RULE,
    "whether the gateway serves /docs, /console and /openapi.yaml at the REST address",
    metavar="on|off",
)
TLS_KEY = Setting("tls_key", "", parse_file, FILE_RULE, "private key of the certificate", metavar="FILE")
GRPC_CLIENT_CA = Setting(
    "grpc_client_ca",
    "",
    parse_file,
    FILE_RULE,
    "CA whose certificates gRPC callers must have; needs TLS",
    metavar="FILE",
)
UPSTREAM_CA = Setting(
    "upstream_ca",
    "",
    parse_file,
    FILE_RULE,
    "CA of the servers' certificates; if it is given, the gateway uses TLS to the servers",
    metavar="FILE",
)
UPSTREAM_CERTIFICATE = Setting(
    "upstream_certificate",
    "",
    parse_file,
    FILE_RULE,
    "certificate that the gateway shows to its servers",
    metavar="FILE",
)
UPSTREAM_KEY = Setting("upstream_key", "", parse_file, FILE_RULE, "private key of that certificate", metavar="FILE")
JWT_ISSUER = Setting(
    "jwt_issuer", "", parse_text, TEXT_RULE, "issuer (iss) of the tokens; if it is given, every call needs a token"
)
JWT_AUDIENCE = Setting("jwt_audience", "", parse_text, TEXT_RULE, "audience (aud) that a token must name")
JWT_JWKS = Setting(
    "jwt_jwks", "", parse_jwks, JWKS_RULE, "file or https URL of the issuer's public keys", metavar="FILE|URL"
)
RATE_LIMIT = Setting(
    "rate_limit",
    "0",
    number_parser(MAX_RATE),
    NUMBER_RULE.format(MAX_RATE),
    "requests per second that one client address may make; 0 for no limit",
    metavar="N",
)
TRUSTED_PROXIES = Setting(
    "trusted_proxies",
    "0",
    number_parser(MAX_PROXIES),
    NUMBER_RULE.format(MAX_PROXIES),
    "number of proxies in front that add the client's address to x-forwarded-for",
    metavar="N",
)
CORS_ORIGINS = Setting(
    "cors_origins",
    "",
    parse_origins,
    ORIGINS_RULE,
    "origins of the web pages that may call REST, separated by commas; * for all",
)
# The locks towards callers of the gateway, those of a server, and those between the two.
LOCKS = (
    *(TLS_CERTIFICATE, TLS_KEY, GRPC_CLIENT_CA, JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS),
    *(RATE_LIMIT, TRUSTED_PROXIES, CORS_ORIGINS),
)
SERVER_LOCKS = (TLS_CERTIFICATE, TLS_KEY, GRPC_CLIENT_CA, JWT_ISSUER)
UPSTREAM_LOCKS = (UPSTREAM_CA, UPSTREAM_CERTIFICATE, UPSTREAM_KEY)
URL = Setting("url", "http://127.0.0.1:8080", parse_text, TEXT_RULE, "URL of the service's REST address")
TOKEN = Setting(
    "token", "", parse_text, TEXT_RULE, "token for every call, if the service requires tokens", is_secret=True
)
TOKEN_FILE = Setting(
    "token_file", "", parse_file, FILE_RULE, "file that holds the token, so that no process list shows it"
)
LOG_LEVEL = Setting("log_level", "info", parse_log_level, LOG_LEVEL_RULE, "least severe level that is logged")
LOG_FORMAT = Setting(
    "log_format",
    "auto",
    parse_log_format,
    LOG_FORMAT_RULE,
    "log lines as text for people, as JSON, or (auto) as text on a terminal and as JSON elsewhere",
    metavar="text|json|auto",
)


def add_flags(parser: ArgumentParser, settings: tuple[Setting, ...]) -> None:
    for setting in settings:
        parser.add_argument(
            setting.flag,
            metavar=setting.metavar or setting.name.rpartition("_")[2].upper(),
            help=f"{setting.meaning} (default {setting.default or 'none'}; variable {setting.variable})",
        )


def resolve(arguments: Namespace, settings: tuple[Setting, ...], environment: Mapping[str, str] = os.environ) -> Any:
    """The values of settings by name: from the flag, else from the variable, else the default. Raises SettingsError."""
    values = {}
    for setting in settings:
        given = getattr(arguments, setting.name, None)
        text = environment.get(setting.variable, setting.default) if given is None else given
        try:
            values[setting.name] = setting.parse(text)
        except ValueError:
            shown = "" if setting.is_secret else f", not {text!r}"
            raise SettingsError(f"{setting.variable} (or {setting.flag}) {setting.rule}{shown}") from None
    return Namespace(**values)


def variables(values: Namespace, settings: tuple[Setting, ...]) -> dict[str, str]:
    """The environment variables that give these settings to another process."""
    return {setting.variable: str(getattr(values, setting.name)) for setting in settings}
