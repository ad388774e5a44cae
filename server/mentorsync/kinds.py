"""The kinds of values that settings have: how each is read, the rule for it, and how `--help` shows it."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mentorsync.storage.urls import PERCENT_ENCODING, is_unambiguous

MAX_PORT = 65_535
COUNT_RULE = "must be a number from 1 to {}"
LOG_LEVELS = ("debug", "info", "warning", "error")
ADDRESS_RULE = "must be host:port with a port from 0 to 65535, such as 127.0.0.1:8080"
LOG_LEVEL_RULE = f"must be one of {', '.join(LOG_LEVELS)}"
SWITCH_RULE = "must be on or off"
LOG_FORMATS = ("auto", "text", "json")
LOG_FORMAT_RULE = f"must be one of {', '.join(LOG_FORMATS)}"
DATABASE_URL_RULE = (
    "must be sqlite:///file.db (relative), sqlite:////path/to/file.db (absolute), both without parameters, or "
    f"postgresql://user:password@host:port/name; {PERCENT_ENCODING}"
)
NUMBER_RULE = "must be a whole number from 0 to {}"
FILE_RULE = "must be the path of a PEM file"
JWKS_RULE = "must be the path of a file with a JSON Web Key Set, or an https URL"
ORIGINS_RULE = "must be * or origins with commas between them, such as https://app.example.org,http://localhost:3000"
SERVICE_URL_RULE = "must be an http or https URL with a host, such as http://127.0.0.1:8080"
TEXT_RULE = "must not contain control characters"
ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.ASCII)  # as browsers send it: in lower case, without a path


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
    """The URL, with the absolute path of a SQLite file, since Envoy runs in another folder."""
    scheme, separator, rest = text.partition("://")
    # As a part of the file's name, a parameter such as ?timeout=5 would silently lead to a new, empty database.
    is_path = rest.startswith("/") and not rest.endswith("/") and rest != "/:memory:" and "?" not in rest
    is_file = scheme == "sqlite" and is_path
    is_postgres = scheme in ("postgresql", "postgres") and rest.strip("/") != ""
    if not separator or not (is_file or (is_postgres and is_unambiguous(text))):
        raise ValueError(DATABASE_URL_RULE)
    return f"sqlite:///{_absolute(Path(rest[1:]))}" if is_file else text


def _absolute(path: Path) -> Path:
    """The absolute path to a file of a URL, as a part of a URL."""
    return path if path.is_absolute() else Path(str(Path.cwd()).replace("%", "%25"), path)


def parse_text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(TEXT_RULE)
    return text


def parse_file(text: str) -> str:
    """The absolute path of a file, since Envoy resolves relative ones elsewhere. Empty for none."""
    return str(Path(text).absolute()) if text else ""


def parse_jwks(text: str) -> str:
    """The absolute path of a file, or the URL. Raises ValueError."""
    if "://" not in text:
        return parse_file(text)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.port == 0:
        raise ValueError(JWKS_RULE)
    return text


def parse_service_url(text: str) -> str:
    """The URL of a service's REST address. It may have a path, which a proxy removes. Raises ValueError."""
    parts = urlsplit(text)
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(" ?#\\")
    if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(SERVICE_URL_RULE)
    if parts.hostname.rpartition(".")[2].isdigit():
        ip_address(parts.hostname)  # raises ValueError for 1.1.1.999
    parts.hostname.encode("idna").decode("idna")  # raises it for a..b, xn--0 and long names
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


class Kind(NamedTuple):
    """`parse` raises ValueError for a text that does not follow `rule`.

    `metavar` stands for the value in `--help`; without one, that is the last word of the setting's name.
    """

    parse: Callable[[str], Any]
    rule: str
    metavar: str = ""


ADDRESS = Kind(parse_address, ADDRESS_RULE, "HOST:PORT")
OPTIONAL_ADDRESS = Kind(parse_optional_address, ADDRESS_RULE, "HOST:PORT")
FILE = Kind(parse_file, FILE_RULE, "FILE")
JWKS = Kind(parse_jwks, JWKS_RULE, "FILE|URL")
SERVICE_URL = Kind(parse_service_url, SERVICE_URL_RULE)
TEXT = Kind(parse_text, TEXT_RULE)
SWITCH = Kind(parse_switch, SWITCH_RULE, "on|off")
DATABASE = Kind(parse_database_url, DATABASE_URL_RULE)
ORIGINS = Kind(parse_origins, ORIGINS_RULE)
LEVEL = Kind(parse_log_level, LOG_LEVEL_RULE)
FORMAT = Kind(parse_log_format, LOG_FORMAT_RULE, "text|json|auto")


def count(maximum: int) -> Kind:
    return Kind(lambda text: parse_count(text, maximum), COUNT_RULE.format(maximum), "N")


def number(maximum: int) -> Kind:
    return Kind(lambda text: parse_number(text, 0, maximum, NUMBER_RULE), NUMBER_RULE.format(maximum), "N")
