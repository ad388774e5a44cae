"""How settings are read, and the messages for invalid values."""

from argparse import Namespace
from pathlib import Path
from traceback import format_exception

import pytest
from mentorsync.config import (
    DATABASE_URL,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    HEALTH_ADDRESS,
    LOG_LEVEL,
    METRICS_ADDRESS,
    PAGES,
    REST_ADDRESS,
    URL,
    Setting,
    SettingsError,
    misspelt,
    resolve,
)
from mentorsync.kinds import Address, Kind
from mentorsync.storage.engine import open_engine

ALL = (
    DATABASE_URL,
    GRPC_ADDRESS,
    REST_ADDRESS,
    METRICS_ADDRESS,
    HEALTH_ADDRESS,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    PAGES,
    LOG_LEVEL,
)

BAD_URLS = (
    *("http://h:99999", "http://h:0", "http://h:-1", "http://h:x", "http://h:٣"),
    *("http://", "http://:80", "http://[::1", "http://1.1.1.999", "http://a..b", "http://xn--0", f"http://{'a' * 64}"),
    *("http://a b", "http:// h", "http://h/p q", "http://h\n", "http://h\\a", "http://ü", "http://h?a=1", "http://h#a"),
    *("", "h", "h:80", "//h", "http:/h", "ftp://h"),
)
SECRET = "my-password"  # noqa: S105 - a text that no message may contain


def test_the_names_and_defaults_are_a_public_interface() -> None:
    """A release must not change variables, flags or defaults."""
    assert [(setting.variable, setting.flag, setting.default) for setting in ALL] == [
        ("MENTORSYNC_DATABASE_URL", "--database-url", "sqlite:///mentorsync.db"),
        ("MENTORSYNC_GRPC_ADDRESS", "--grpc-address", "127.0.0.1:50051"),
        ("MENTORSYNC_REST_ADDRESS", "--rest-address", "127.0.0.1:8080"),
        ("MENTORSYNC_METRICS_ADDRESS", "--metrics-address", "127.0.0.1:9464"),
        ("MENTORSYNC_HEALTH_ADDRESS", "--health-address", ""),
        ("MENTORSYNC_GATEWAY_ADMIN_ADDRESS", "--gateway-admin-address", "127.0.0.1:9901"),
        ("MENTORSYNC_GATEWAY_GRPC_ADDRESS", "--gateway-grpc-address", ""),
        ("MENTORSYNC_PAGES", "--pages", "on"),
        ("MENTORSYNC_LOG_LEVEL", "--log-level", "info"),
    ]


def test_a_flag_overrides_the_variable_which_overrides_the_default() -> None:
    """Each setting is taken from the first of the three that gives a value."""
    flags = Namespace(grpc_address="127.0.0.1:1")
    environment = {"MENTORSYNC_GRPC_ADDRESS": "127.0.0.1:2", "MENTORSYNC_METRICS_ADDRESS": "127.0.0.1:3"}
    settings = resolve(flags, (GRPC_ADDRESS, METRICS_ADDRESS, REST_ADDRESS), environment)
    assert settings.grpc_address == Address("127.0.0.1", 1)
    assert settings.metrics_address == Address("127.0.0.1", 3)
    assert settings.rest_address == Address("127.0.0.1", 8080)


def test_misspelt_variables_are_found() -> None:
    """Not those that Kubernetes sets for services whose names begin with `mentorsync`."""
    environment = dict.fromkeys(("MENTORSYNC_DATABSE_URL", "MENTORSYNC_PAGE", "MENTORSYNC_REST_ADDRES"), "")
    assert misspelt(ALL, environment) == {
        "MENTORSYNC_DATABSE_URL": "MENTORSYNC_DATABASE_URL",
        "MENTORSYNC_PAGE": "MENTORSYNC_PAGES",
        "MENTORSYNC_REST_ADDRES": "MENTORSYNC_REST_ADDRESS",
    }
    assert misspelt(ALL, {"MENTORSYNC_LOG": "", "MENTORSYNC_GATEWAY_GRPC": ""}) == {
        "MENTORSYNC_LOG": "MENTORSYNC_LOG_LEVEL",
        "MENTORSYNC_GATEWAY_GRPC": "MENTORSYNC_GATEWAY_GRPC_ADDRESS",
    }
    for service in ("", "REST_", "GRPC_", "METRICS_"):
        names = ("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PROTO")
        assert misspelt(ALL, {f"MENTORSYNC_{service}{name}": "" for name in names}) == {}
    assert misspelt(ALL, {setting.variable: "" for setting in ALL}) == {}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:65535", Address("localhost", 65_535)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),  # noqa: S104 - only parsed
        ("[::1]:80", Address("::1", 80)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    """An address prints as it was written."""
    assert GRPC_ADDRESS.kind.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("setting", "text", "rule"),
    [
        *((GRPC_ADDRESS, text, "must be host:port") for text in ("", "host", "host:", ":80", "h:65536", "h:-1", "h:٣")),
        (GRPC_ADDRESS, "[::1:80", "must be host:port"),
        (REST_ADDRESS, "http://h:1/", "must be host:port"),
        (METRICS_ADDRESS, "h:1.5", "must be host:port"),
        (GATEWAY_ADMIN_ADDRESS, "h:x", "must be host:port"),
        (GATEWAY_GRPC_ADDRESS, "h", "must be host:port"),
        (PAGES, "yes", "must be on or off"),
        *((URL, text, "must be an http or https URL with a host") for text in BAD_URLS),
        (LOG_LEVEL, "loud", "must be one of debug, info, warning, error"),
    ],
)
def test_the_message_for_an_invalid_value_says_which_are_valid(setting: Setting, text: str, rule: str) -> None:
    """The message has the variable, the flag, the rule and the value, whether a flag or a variable gave it."""
    for flags, environment in ((Namespace(**{setting.name: text}), {}), (Namespace(), {setting.variable: text})):
        with pytest.raises(SettingsError) as raised:
            resolve(flags, (setting,), environment)
        message = str(raised.value)
        assert message.startswith(f"{setting.variable} (or {setting.flag}) {rule}")
        assert message.endswith(f", not {text!r}")


@pytest.mark.parametrize(
    "url", ["http://h", "HTTPS://h.example:8443/base/", "http://127.0.0.1:1", "http://[::1]:80", "http://user:word@h"]
)
def test_a_url_of_the_service_is_taken_as_it_is(url: str) -> None:
    """A prefix, which a proxy may need, stays."""
    assert URL.kind.parse(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:secret@host/name",
        "postgresql://u:secret@[host/name",
        "postgresql:u:secret@host",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////tmp/",
        "sqlite://secret/file.db",
        "sqlite:////tmp/file.db?mode=secret",
    ],
)
def test_an_invalid_database_url_is_not_printed(url: str) -> None:
    """It may hold a password. The message says which URLs are valid."""
    with pytest.raises(SettingsError) as raised:
        resolve(Namespace(database_url=url), (DATABASE_URL,), {})
    message = str(raised.value)
    assert message.startswith("MENTORSYNC_DATABASE_URL (or --database-url) must be sqlite:///file.db")
    assert "secret" not in message


def test_a_relative_path_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the folder's name has what would be a percent-encoded character in a URL."""
    folder = tmp_path / "50%41"
    folder.mkdir()
    monkeypatch.chdir(folder)
    engine = open_engine(DATABASE_URL.kind.parse("sqlite:///a%20b.db"))
    assert str(engine) == f"sqlite:///{folder}/a b.db"


def test_a_parsers_error_reveals_no_secret() -> None:
    """Python's own parsers quote what they could not read. Neither the message nor a traceback shows that."""

    def parse(text: str) -> str:
        raise ValueError(f"Port could not be cast to integer value as {text!r}")

    setting = Setting("token", "", Kind(parse, "must be a token"), "a token", is_secret=True)
    with pytest.raises(SettingsError) as raised:
        resolve(Namespace(token=SECRET), (setting,), {})
    assert str(raised.value) == "MENTORSYNC_TOKEN (or --token) must be a token"
    assert SECRET not in "".join(format_exception(raised.value))


def test_log_levels_may_be_written_in_capitals() -> None:
    """The value is in small letters."""
    assert LOG_LEVEL.kind.parse("WARNING") == "warning"


def test_the_gateways_grpc_listener_is_off_unless_it_has_an_address() -> None:
    """No variable, or an empty one, means that there is no listener."""
    for environment in ({}, {GATEWAY_GRPC_ADDRESS.variable: ""}):
        assert resolve(Namespace(), (GATEWAY_GRPC_ADDRESS,), environment).gateway_grpc_address is None
    assert GATEWAY_GRPC_ADDRESS.kind.parse("127.0.0.1:50050") == Address("127.0.0.1", 50_050)
