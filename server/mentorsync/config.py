"""The settings: environment variables, each also a flag of the commands that use it."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mentorsync.storage.urls import PERCENT_ENCODING, is_clear

MAX_PORT = 65_535


class SettingsError(Exception):
    """A setting has no usable value. The message names it and says what would be right."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """host:port, with an IPv6 host in brackets; port 0 means any free one."""
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= MAX_PORT) or set(host) & set("[]"):
        raise ValueError("must be host:port with a port from 0 to 65535, such as 127.0.0.1:8080")
    return Address(host, int(port))


def parse_optional_address(text: str) -> Address | None:
    """As parse_address; nothing means none."""
    return parse_address(text) if text else None


def parse_log_level(text: str) -> str:
    levels = ("debug", "info", "warning", "error")
    if text.lower() not in levels:
        raise ValueError(f"must be one of {', '.join(levels)}")
    return text.lower()


def parse_database_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    is_file = scheme == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:") and not rest.endswith("/")
    is_postgres = scheme in ("postgresql", "postgres") and rest.strip("/") != ""
    if not separator or not (is_file or (is_postgres and is_clear(text))):
        raise ValueError(
            "must be sqlite:///file.db (relative), sqlite:////path/to/file.db (absolute) or "
            "postgresql://user:password@host:port/name" + (f"; {PERCENT_ENCODING}" if is_postgres else "")
        )
    return text


class Setting(NamedTuple):
    """One setting. The variable is its name in upper case after MENTORSYNC_, the flag its name with dashes."""

    name: str
    default: str
    parse: Callable[[str], Any]
    meaning: str
    is_secret: bool = False  # never shown

    @property
    def variable(self) -> str:
        return f"MENTORSYNC_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


DATABASE_URL = Setting("database_url", "sqlite:///mentorsync.db", parse_database_url, "the database", is_secret=True)
GRPC_ADDRESS = Setting("grpc_address", "127.0.0.1:50051", parse_address, "where the gRPC server listens")
REST_ADDRESS = Setting("rest_address", "127.0.0.1:8080", parse_address, "where the gateway serves REST")
METRICS_ADDRESS = Setting("metrics_address", "127.0.0.1:9464", parse_address, "where /metrics is served")
GATEWAY_ADMIN_ADDRESS = Setting("gateway_admin_address", "127.0.0.1:9901", parse_address, "where Envoy's admin listens")
GATEWAY_GRPC_ADDRESS = Setting(
    "gateway_grpc_address",
    "",
    parse_optional_address,
    "where the gateway balances gRPC over all servers, for internal callers",
)
LOG_LEVEL = Setting("log_level", "info", parse_log_level, "the least severe level that is logged")


def add_flags(parser: ArgumentParser, settings: tuple[Setting, ...]) -> None:
    for setting in settings:
        parser.add_argument(
            setting.flag,
            metavar=setting.name.rpartition("_")[2].upper(),
            help=f"{setting.meaning} (default {setting.default or 'nowhere'}; variable {setting.variable})",
        )


def resolve(arguments: Namespace, settings: tuple[Setting, ...], environment: Mapping[str, str] = os.environ) -> Any:
    """The values of settings by name: the flag's, else the variable's, else the default. Raises SettingsError."""
    values = {}
    for setting in settings:
        given = getattr(arguments, setting.name, None)
        text = environment.get(setting.variable, setting.default) if given is None else given
        try:
            values[setting.name] = setting.parse(text)
        except ValueError as error:
            shown = "" if setting.is_secret else f", not {text!r}"
            raise SettingsError(f"{setting.variable} (or {setting.flag}) {error}{shown}") from error
    return Namespace(**values)


def variables(values: Namespace, settings: tuple[Setting, ...]) -> dict[str, str]:
    """Settings as the environment of a process that is to have them."""
    return {setting.variable: str(getattr(values, setting.name)) for setting in settings}
