"""How settings are read, and what is said of bad ones."""

from argparse import Namespace

import pytest
from mentorsync.config import (
    DATABASE_URL,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    LOG_LEVEL,
    METRICS_ADDRESS,
    REST_ADDRESS,
    Address,
    Setting,
    SettingsError,
    resolve,
)

ALL = (
    DATABASE_URL,
    GRPC_ADDRESS,
    REST_ADDRESS,
    METRICS_ADDRESS,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    LOG_LEVEL,
)


def test_the_names_and_defaults_are_a_public_interface() -> None:
    """Variables, flags and defaults are what they were released as."""
    assert [(setting.variable, setting.flag, setting.default) for setting in ALL] == [
        ("MENTORSYNC_DATABASE_URL", "--database-url", "sqlite:///mentorsync.db"),
        ("MENTORSYNC_GRPC_ADDRESS", "--grpc-address", "127.0.0.1:50051"),
        ("MENTORSYNC_REST_ADDRESS", "--rest-address", "127.0.0.1:8080"),
        ("MENTORSYNC_METRICS_ADDRESS", "--metrics-address", "127.0.0.1:9464"),
        ("MENTORSYNC_GATEWAY_ADMIN_ADDRESS", "--gateway-admin-address", "127.0.0.1:9901"),
        ("MENTORSYNC_GATEWAY_GRPC_ADDRESS", "--gateway-grpc-address", ""),
        ("MENTORSYNC_LOG_LEVEL", "--log-level", "info"),
    ]


def test_a_flag_beats_the_variable_and_the_variable_the_default() -> None:
    """The nearest word counts."""
    flags = Namespace(grpc_address="127.0.0.1:1")
    environment = {"MENTORSYNC_GRPC_ADDRESS": "127.0.0.1:2", "MENTORSYNC_METRICS_ADDRESS": "127.0.0.1:3"}
    settings = resolve(flags, (GRPC_ADDRESS, METRICS_ADDRESS, REST_ADDRESS), environment)
    assert settings.grpc_address == Address("127.0.0.1", 1)
    assert settings.metrics_address == Address("127.0.0.1", 3)
    assert settings.rest_address == Address("127.0.0.1", 8080)


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
    """An address prints as it was given."""
    assert GRPC_ADDRESS.parse(text) == address
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
        (LOG_LEVEL, "loud", "must be one of debug, info, warning, error"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(setting: Setting, text: str, rule: str) -> None:
    """The message names the variable, the flag, the rule and the value, whichever way it came."""
    for flags, environment in ((Namespace(**{setting.name: text}), {}), (Namespace(), {setting.variable: text})):
        with pytest.raises(SettingsError) as raised:
            resolve(flags, (setting,), environment)
        message = str(raised.value)
        assert message.startswith(f"{setting.variable} (or {setting.flag}) {rule}")
        assert message.endswith(f", not {text!r}")


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
    ],
)
def test_a_bad_database_url_is_not_shown(url: str) -> None:
    """It may hold a password; the message says what would be right."""
    with pytest.raises(SettingsError) as raised:
        resolve(Namespace(database_url=url), (DATABASE_URL,), {})
    message = str(raised.value)
    assert message.startswith("MENTORSYNC_DATABASE_URL (or --database-url) must be sqlite:///file.db")
    assert "secret" not in message


def test_log_levels_may_be_written_in_capitals() -> None:
    """INFO is info."""
    assert LOG_LEVEL.parse("WARNING") == "warning"


def test_the_gateways_grpc_listener_is_off_unless_it_has_an_address() -> None:
    """No word, or an empty one, means none."""
    for environment in ({}, {GATEWAY_GRPC_ADDRESS.variable: ""}):
        assert resolve(Namespace(), (GATEWAY_GRPC_ADDRESS,), environment).gateway_grpc_address is None
    assert GATEWAY_GRPC_ADDRESS.parse("127.0.0.1:50050") == Address("127.0.0.1", 50_050)
