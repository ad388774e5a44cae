"""The certificate of a server: new files are taken if they fit together."""

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from mentorsync.rpc.credentials import CertificateFiles

from tests.edge.certificates import Authority, put


def test_a_certificate_without_its_key_is_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not at each connection, or callers would fill the log. Once the key is there, both are taken."""
    authority = Authority(tmp_path)
    first, second = authority.issue("first"), authority.issue("second")
    files = CertificateFiles(str(first.certificate), str(first.key), "")
    assert files.changed()
    put(first.certificate, second.certificate.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert [files.changed() for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    put(first.key, second.key.read_bytes())
    assert files.changed()
    assert files.changed() is None


def test_an_encrypted_key_is_not_used(tmp_path: Path) -> None:
    """It is refused, and nobody is asked for a password."""
    pair = Authority(tmp_path).issue("server")
    files = CertificateFiles(str(pair.certificate), str(pair.key), "")
    assert files.changed()
    key = load_pem_private_key(pair.key.read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    put(pair.key, encrypted)
    assert files.changed() is None
