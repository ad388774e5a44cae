"""The settings: each is an environment variable, and a flag of the commands that use it."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mentorsync.storage.urls import PERCENT_ENCODING, is_clear

MAX_PORT = 65_535
MAX_STREAMS = 10_000  # of one process
STREAMS_RULE = f"must be a number from 1 to {MAX_STREAMS}"
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
# Not a setting: the supervisor gives the embedded service the path of the Unix socket for health and reflection.
HEALTH_SOCKET_VARIABLE = "MENTORSYNC_HEALTH_SOCKET"
# Nor is this: the number of a descriptor, inherited from the supervisor, that reaches its end when a stop begins.
STOP_DESCRIPTOR_VARIABLE = "MENTORSYNC_STOP_DESCRIPTOR"


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


def parse_streams(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_STREAMS):
        raise ValueError(STREAMS_RULE)
    return int(text)


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
    if not separator or not (is_file or (is_postgres and is_clear(text))):
        raise ValueError(DATABASE_URL_RULE)
    return text


class Setting(NamedTuple):
    """One setting. The variable is MENTORSYNC_ and the name in upper case. The flag is the name with dashes.

    `parse` raises ValueError for a text that does not follow `rule`. `meaning` completes "--flag: ...".
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    rule: str
    meaning: str
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
    "grpc_address", "127.0.0.1:50051", parse_address, ADDRESS_RULE, "address where the service listens for gRPC"
)
REST_ADDRESS = Setting(
    "rest_address", "127.0.0.1:8080", parse_address, ADDRESS_RULE, "address where the gateway listens for REST"
)
METRICS_ADDRESS = Setting(
    "metrics_address", "127.0.0.1:9464", parse_address, ADDRESS_RULE, "address where the service listens for /metrics"
)
GATEWAY_ADMIN_ADDRESS = Setting(
    "gateway_admin_address", "127.0.0.1:9901", parse_address, ADDRESS_RULE, "address of Envoy's admin interface"
)
GATEWAY_GRPC_ADDRESS = Setting(
    "gateway_grpc_address",
    "",
    parse_optional_address,
    ADDRESS_RULE,
    "address where the gateway balances gRPC over all servers, for internal callers; not for the one-process mode",
)
STREAMS_PER_ADDRESS = Setting(
    "streams_per_address",
    "20",
    parse_streams,
    STREAMS_RULE,
    "how many streams of the live feed one client address may have; a proxy that hides its clients counts as one",
)
JWT_ISSUER = Setting(
    "jwt_issuer", "", str, "must be a text", "issuer of the tokens that callers need; without it, callers need none"
)
PAGES = Setting(
    "pages", "on", parse_switch, SWITCH_RULE, "whether the gateway serves /docs and /openapi.yaml at the REST address"
)
LOG_LEVEL = Setting("log_level", "info", parse_log_level, LOG_LEVEL_RULE, "least severe level that is logged")
LOG_FORMAT = Setting(
    "log_format",
    "auto",
    parse_log_format,
    LOG_FORMAT_RULE,
    "how log lines are written: as text for people, as JSON, or as text on a terminal and JSON elsewhere (auto)",
)


def add_flags(parser: ArgumentParser, settings: tuple[Setting, ...]) -> None:
    for setting in settings:
        parser.add_argument(
            setting.flag,
            metavar=setting.name.rpartition("_")[2].upper(),
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
