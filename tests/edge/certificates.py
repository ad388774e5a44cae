"""Certificates for tests, made by a certificate authority of the test."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=90)  # the service warns 14 days before the end


class Pair(NamedTuple):
    """The paths of a certificate and of its key."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        """Those of a service that shows the certificate."""
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}


class Authority:
    """A certificate authority. Its own certificate is in `ca`, and all its files are in `folder`."""

    def __init__(self, folder: Path, name: str = "authority", lifetime: timedelta = LIFETIME) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name}.pem"
        builder = self._builder(name, lifetime).public_key(self._key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *hosts: str, lifetime: timedelta = LIFETIME) -> Pair:
        """Makes a certificate for hosts, or replaces it. Files are renamed into place, the key first."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, lifetime).public_key(key.public_key())
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts or (f"{name}.example",)])
        certificate = builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        put(pair.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        put(pair.certificate, certificate.public_bytes(Encoding.PEM))
        return pair

    def _builder(self, name: str, lifetime: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFETIME)
            .not_valid_after(now + lifetime)
        )


def put(path: Path, content: bytes) -> None:
    """Renames a file into place, as an operator must, with the rights that keep it from others."""
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_bytes(content)
    os.replace(new, path)  # noqa: PTH105 - the same, and the word that operators know


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
