"""TLS of the grpcio server, with files that may be replaced while it runs."""

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


def server_credentials(chain: str, key: str, client_ca: str) -> grpc.ServerCredentials:
    """TLS with the files at these paths. With `client_ca`, only callers with a certificate of that CA are accepted."""
    files = CertificateFiles(chain, key, client_ca)
    first = files.read()
    # The types of grpc leave out that the function may return None.
    changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", files.changed)
    return grpc.dynamic_ssl_server_credentials(first, changed, require_client_authentication=bool(client_ca))


class CertificateFiles:
    """Looks at the files for each connection: a look costs microseconds, and a handshake about a millisecond."""

    def __init__(self, chain: str, key: str, client_ca: str) -> None:
        self._chain, self._key, self._client_ca = Path(chain), Path(key), client_ca
        self._seen: object = None
        self._refused: object = None

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The files' content if they have changed since the last call, and fit together. Else None."""
        identities = [_identity(path) for path in self._paths()]
        if identities == self._seen:
            return None
        try:
            configuration = self.read()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, too
            if identities != self._refused:  # once: callers decide how often this is called
                logger.warning("the new certificate is not used: %s", error)
            self._refused = identities
            return None
        self._seen = identities
        return configuration

    def _paths(self) -> list[Path]:
        return [self._chain, self._key, *([Path(self._client_ca)] if self._client_ca else [])]

    def read(self) -> grpc.ServerCertificateConfiguration:
        # With an encrypted key and no password here, OpenSSL would ask the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key, password="")
        chain, key, *ca = (path.read_bytes() for path in self._paths())
        return grpc.ssl_server_certificate_configuration([(key, chain)], ca[0] if ca else None)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Differs after each change of the file. None while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
