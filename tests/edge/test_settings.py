"""Wrong security settings are refused at the start, with their name. Addresses without them cause a warning."""

from argparse import Namespace
from pathlib import Path

import pytest
from mentorsync.config import (
    GRPC_ADDRESS,
    REST_ADDRESS,
    SECURITY_SETTINGS,
    UPSTREAM_SECURITY_SETTINGS,
    SettingsError,
    resolve,
)
from mentorsync.exposed_addresses import check_server_is_hidden, warnings
from mentorsync.security_files import check_security
from mentorsync.supervisor.security import check_servers_are_hidden
from mentorsync_gateway.errors import GatewayError

from tests.edge.certificates import Authority
from tests.edge.tokens import Issuer

SETTINGS = (REST_ADDRESS, GRPC_ADDRESS, *SECURITY_SETTINGS, *UPSTREAM_SECURITY_SETTINGS)
EVERYWHERE = "0.0.0.0:8080"


def resolved(**values: object) -> Namespace:
    """The settings of a command, with these values."""
    settings: Namespace = resolve(Namespace(**{name: str(value) for name, value in values.items()}), SETTINGS, {})
    return settings


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths by a word for what is in the file."""
    authority = Authority(tmp_path)
    own, other = authority.issue("own"), authority.issue("other")
    Issuer().publish(tmp_path / "keys")
    contents = {"text": "text", "no keys": '{"keys": []}', "list": "[]", "private": own.key.read_text()}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    paths = {name: tmp_path / name for name in (*contents, "keys", "missing")}
    paths |= {"certificate": own.certificate, "key": own.key, "other key": other.key, "ca": authority.ca}
    return {name: str(path) for name, path in paths.items()}


GOOD = [
    {},
    {"tls_certificate": "certificate", "tls_key": "key", "grpc_client_ca": "ca"},
    {"upstream_ca": "ca"},
    {"upstream_ca": "ca", "upstream_certificate": "certificate", "upstream_key": "key"},
    {"jwt_issuer": "me", "jwt_audience": "you", "jwt_jwks": "keys"},
    {"jwt_issuer": "me", "jwt_audience": "you", "jwt_jwks": "https://issuer.example/keys"},
]
BAD = [
    ({"tls_certificate": "certificate"}, "MENTORSYNC_TLS_CERTIFICATE needs MENTORSYNC_TLS_KEY as well"),
    ({"tls_key": "key"}, "MENTORSYNC_TLS_KEY needs MENTORSYNC_TLS_CERTIFICATE as well"),
    ({"tls_certificate": "missing", "tls_key": "key"}, r"MENTORSYNC_TLS_CERTIFICATE .*missing cannot be read: No such"),
    ({"tls_certificate": "certificate", "tls_key": "missing"}, r"MENTORSYNC_TLS_KEY .*missing cannot be read: No such"),
    ({"tls_certificate": "certificate", "tls_key": "other key"}, "CERTIFICATE and MENTORSYNC_TLS_KEY do not belong"),
    ({"tls_certificate": "text", "tls_key": "key"}, "are not a certificate and an unencrypted key in PEM"),
    ({"tls_certificate": "certificate", "tls_key": "text"}, "are not a certificate and an unencrypted key in PEM"),
    ({"grpc_client_ca": "ca"}, "MENTORSYNC_GRPC_CLIENT_CA needs MENTORSYNC_TLS_CERTIFICATE as well"),
    (
        {"tls_certificate": "certificate", "tls_key": "key", "grpc_client_ca": "text"},
        r"MENTORSYNC_GRPC_CLIENT_CA .*text has no certificate in PEM",
    ),
    ({"upstream_ca": "missing"}, r"MENTORSYNC_UPSTREAM_CA .*missing cannot be read: No such"),
    (
        {"upstream_certificate": "certificate", "upstream_key": "key"},
        "UPSTREAM_CERTIFICATE needs MENTORSYNC_UPSTREAM_CA",
    ),
    ({"jwt_issuer": "me"}, "MENTORSYNC_JWT_ISSUER needs MENTORSYNC_JWT_AUDIENCE as well"),
    ({"jwt_issuer": "me", "jwt_audience": "you"}, "MENTORSYNC_JWT_ISSUER needs MENTORSYNC_JWT_JWKS as well"),
    ({"jwt_jwks": "keys"}, "MENTORSYNC_JWT_JWKS needs MENTORSYNC_JWT_ISSUER as well"),
    (
        {"jwt_issuer": "me", "jwt_audience": "you", "jwt_jwks": "missing"},
        r"MENTORSYNC_JWT_JWKS .*missing cannot be read",
    ),
    *(
        (
            {"jwt_issuer": "me", "jwt_audience": "you", "jwt_jwks": name},
            r"MENTORSYNC_JWT_JWKS .* must be JSON with public",
        )
        for name in ("text", "no keys", "list")
    ),
]


def with_paths(values: dict[str, str], files: dict[str, str]) -> Namespace:
    return resolved(**{name: files.get(value, value) for name, value in values.items()})


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_good_settings_are_taken(values: dict[str, str], files: dict[str, str]) -> None:
    check_security(with_paths(values, files))


@pytest.mark.parametrize(("values", "message"), BAD, ids=str)
def test_bad_settings_are_refused(values: dict[str, str], message: str, files: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=message):
        check_security(with_paths(values, files))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_limit", "-1"),
        ("rate_limit", "ten"),
        ("rate_limit", "1000001"),
        ("trusted_proxies", "11"),
        ("cors_origins", "app.example"),
        ("cors_origins", "https://app.example/"),
        ("cors_origins", "https://App.example"),
        ("cors_origins", "https://*.example"),
        ("cors_origins", "https://app.example,"),
        ("jwt_jwks", "http://issuer.example/keys"),
        ("jwt_jwks", "https://issuer.example:65536/keys"),
        ("jwt_jwks", "https://issuer.example:port/keys"),
        ("jwt_jwks", "https://user:password@issuer.example/keys"),
        ("jwt_issuer", "a\nb"),
    ],
)
def test_a_malformed_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^MENTORSYNC_{name.upper()} "):
        resolved(**{name: value})


def test_a_key_is_never_shown(files: dict[str, str]) -> None:
    """Not even when it is where the certificate should be."""
    with pytest.raises(SettingsError) as error:
        check_security(with_paths({"tls_certificate": "private", "tls_key": "key"}, files))
    assert "PRIVATE" not in str(error.value)


def test_an_open_address_is_warned_about() -> None:
    """The line names the settings that would close it."""
    settings = resolved(rest_address=EVERYWHERE)
    (warning,) = warnings(settings, REST_ADDRESS, GRPC_ADDRESS)
    assert warning == (
        "MENTORSYNC_REST_ADDRESS 0.0.0.0:8080: other machines can reach it without TLS (MENTORSYNC_TLS_CERTIFICATE, "
        "MENTORSYNC_TLS_KEY) and without tokens (MENTORSYNC_JWT_ISSUER, MENTORSYNC_JWT_AUDIENCE, MENTORSYNC_JWT_JWKS)"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_loopback_is_not_warned_about(address: str) -> None:
    assert not list(warnings(resolved(rest_address=address), REST_ADDRESS, GRPC_ADDRESS))


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "service.example:1"])
def test_one_missing_lock_is_enough_for_a_warning(address: str) -> None:
    tls = {"tls_certificate": "certificate", "tls_key": "key"}
    jwt = {"jwt_issuer": "me", "jwt_audience": "you", "jwt_jwks": "keys"}
    (no_jwt,) = warnings(resolved(rest_address=address, **tls), REST_ADDRESS)
    (no_tls,) = warnings(resolved(rest_address=address, **jwt), REST_ADDRESS)
    assert "without TLS" not in no_jwt
    assert "without tokens" not in no_tls
    assert not list(warnings(resolved(rest_address=address, **tls, **jwt), REST_ADDRESS))


def test_a_server_that_trusts_its_gateway_must_be_hidden() -> None:
    """Anyone who reached it could say who calls."""
    with pytest.raises(SettingsError, match="needs MENTORSYNC_GRPC_CLIENT_CA"):
        check_server_is_hidden(resolved(grpc_address=EVERYWHERE, jwt_issuer="me"))
    check_server_is_hidden(resolved(grpc_address=EVERYWHERE))
    check_server_is_hidden(resolved(jwt_issuer="me"))
    check_server_is_hidden(resolved(grpc_address=EVERYWHERE, jwt_issuer="me", grpc_client_ca="ca"))
    with pytest.raises(GatewayError, match="must be a loopback address"):
        check_servers_are_hidden(resolved(grpc_address=EVERYWHERE, jwt_issuer="me"))
