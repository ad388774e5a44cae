"""`mentorsync up` with security settings: readiness, keys from a URL, warnings, and what it shows of itself."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.contract import BASE
from tests.databases import Databases
from tests.edge.certificates import Authority, Pair
from tests.edge.conftest import ORIGIN, Secured, lock_settings, own_address, running_up, trust
from tests.edge.tokens import Issuer, bearer, jwt_settings
from tests.rest.answers import assert_error
from tests.server_process import wait_until


@contextmanager
def served(content: bytes, pair: Pair) -> Iterator[str]:
    """The https URL of a server that answers every GET with this content."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join()


def test_up_with_locks_says_nothing_unusual(secured: Secured) -> None:
    """It reports readiness, though it has no token. The addresses are those to call."""
    assert secured.up.url.startswith("https://")
    assert secured.up.messages() == []


def test_the_health_has_an_address_without_locks(secured: Secured) -> None:
    """Load balancers probe it, without TLS, a certificate or a token. Nothing else is served there."""
    url = httpx.URL(secured.up.announced["health"])
    assert httpx.get(url).status_code == httpx.codes.OK
    wrong_method = httpx.post(url)
    assert_error(wrong_method, httpx.codes.METHOD_NOT_ALLOWED, 12)
    assert wrong_method.headers["allow"] == "GET"
    for path in (BASE, f"{BASE}/events", "/docs", "/mentorstatus.v1.MentorStatusSync/ListSyncEvents"):
        assert_error(httpx.get(url.copy_with(path=path)), httpx.codes.NOT_FOUND, 5)


def test_nothing_secret_is_shown(secured: Secured) -> None:
    """Neither the arguments of the processes nor the log hold a key or a token."""
    token = secured.issuer.token()
    with secured.rest() as client:
        for headers in (bearer(token), bearer(f"{token}x")):
            client.get(BASE, headers=headers, params={"access_token": token})
    arguments = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in secured.up.parts)
    shown = arguments.decode() + secured.up.logged()
    assert token not in shown
    assert "PRIVATE KEY" not in shown


def test_replicas_start_with_locks(databases: Databases, tmp_path: Path) -> None:
    """Each of them has all security settings, after the replacement of all of them as well."""
    authority, issuer = Authority(tmp_path), Issuer()
    issuer.publish(tmp_path / "keys.json")
    settings = lock_settings(authority, authority.issue("server", "127.0.0.1"), tmp_path / "keys.json")
    with (
        databases.fresh() as url,
        running_up(tmp_path, "embedded", "--replicas", "2", **settings, database_url=url) as up,
    ):
        assert up.messages() == []
        assert httpx.get(up.announced["health"]).status_code == httpx.codes.OK
        for _ in range(8):  # on connections of their own, which the kernel spreads over the replicas
            # With addresses of their own: one replica may get all of them, and a limit holds for each address.
            with httpx.Client(base_url=up.url, verify=trust(authority), headers=own_address(), timeout=20) as client:
                assert client.get(BASE).status_code == httpx.codes.UNAUTHORIZED
                assert client.get(BASE, headers=bearer(issuer.token())).status_code == httpx.codes.OK


def test_keys_may_come_from_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over https. The machine must trust the authority of the URL's host."""
    authority, issuer = Authority(tmp_path), Issuer()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    with (
        served(issuer.key_set(), authority.issue("issuer", "localhost")) as url,
        running_up(tmp_path, "embedded", **jwt_settings(url)) as up,
    ):
        assert httpx.get(f"{up.url}{BASE}", headers=bearer(issuer.token())).status_code == httpx.codes.OK
        assert httpx.get(f"{up.url}{BASE}", headers=bearer(Issuer().token())).status_code == httpx.codes.UNAUTHORIZED


def test_an_open_door_is_reported(tmp_path: Path) -> None:
    """Once, at the start, for each address. Any page may call where the setting is *."""
    addresses = {"rest_address": "0.0.0.0:0", "grpc_address": "0.0.0.0:0"}
    with running_up(tmp_path, "embedded", **addresses, cors_origins="*") as up:
        wait_until(lambda: len(up.messages()) == len(addresses), "the warnings")
        assert all("without TLS (MENTORSYNC_TLS_CERTIFICATE" in message for message in up.messages())
        response = httpx.get(f"{up.url}{BASE}", headers={"origin": ORIGIN})
    assert response.headers["access-control-allow-origin"] == ORIGIN
