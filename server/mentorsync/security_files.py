"""Checks the security settings and their files before anything starts, so that an error names the setting to change."""

import json
import ssl
from argparse import Namespace
from pathlib import Path

from mentorsync.config import (
    GRPC_CLIENT_CA,
    JWT_AUDIENCE,
    JWT_ISSUER,
    JWT_JWKS,
    TLS_CERTIFICATE,
    TLS_KEY,
    UPSTREAM_CA,
    UPSTREAM_CERTIFICATE,
    UPSTREAM_KEY,
    Setting,
    SettingsError,
)


def check_security(settings: Namespace) -> None:
    """Checks all security settings of a command. Raises SettingsError."""
    _check_certificate(settings, TLS_CERTIFICATE, TLS_KEY)
    _check_ca(settings, GRPC_CLIENT_CA, TLS_CERTIFICATE)
    if hasattr(settings, UPSTREAM_CA.name):
        _check_certificate(settings, UPSTREAM_CERTIFICATE, UPSTREAM_KEY)
        _check_ca(settings, UPSTREAM_CA, None)
        _check_needs(settings, UPSTREAM_CERTIFICATE, UPSTREAM_CA)
    if hasattr(settings, JWT_JWKS.name):
        _check_jwt(settings)


def _check_certificate(settings: Namespace, certificate: Setting, key: Setting) -> None:
    _check_needs(settings, certificate, key)
    _check_needs(settings, key, certificate)
    if not _value(settings, certificate):
        return
    for setting in (certificate, key):
        _read(settings, setting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key is an error: without a password here, OpenSSL would ask the terminal for one.
        context.load_cert_chain(_value(settings, certificate), _value(settings, key), password="")
    except (ssl.SSLError, ValueError) as error:
        is_mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        cause = "do not belong together" if is_mismatch else "are not a certificate and an unencrypted key in PEM"
        raise SettingsError(f"{certificate.variable} and {key.variable} {cause}") from error


def _check_ca(settings: Namespace, ca: Setting, needed: Setting | None) -> None:
    if not _value(settings, ca):
        return
    if needed:
        _check_needs(settings, ca, needed)
    _read(settings, ca)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(_value(settings, ca))
    except ssl.SSLError as error:
        raise SettingsError(f"{ca.variable} {_value(settings, ca)} has no certificate in PEM") from error


def _check_jwt(settings: Namespace) -> None:
    """All three are needed: without an audience, a token that was made for another service would be accepted."""
    together = (JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS)
    for one in together:
        for other in together:
            _check_needs(settings, one, other)
    path = _value(settings, JWT_JWKS)
    if not path or "://" in path:
        return
    text = _read(settings, JWT_JWKS)
    try:
        has_keys = bool(json.loads(text)["keys"])
    except (ValueError, KeyError, TypeError):
        has_keys = False
    if not has_keys:
        raise SettingsError(f'{JWT_JWKS.variable} {path} must be JSON with public keys: {{"keys": [...]}}')


def _check_needs(settings: Namespace, one: Setting, other: Setting) -> None:
    if _value(settings, one) and not _value(settings, other):
        raise SettingsError(f"{one.variable} needs {other.variable} as well")


def _read(settings: Namespace, setting: Setting) -> bytes:
    path = _value(settings, setting)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting.variable} {path} cannot be read: {error.strerror}") from error


def _value(settings: Namespace, setting: Setting) -> str:
    value: str = getattr(settings, setting.name)
    return value
