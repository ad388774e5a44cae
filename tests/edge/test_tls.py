"""TLS on both addresses, in both layouts: only TLS is spoken, and new files take effect without a restart."""

import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from tests.edge.certificates import Authority, Pair, put
from tests.edge.conftest import Secured, call, trust
from tests.server_process import wait_until

HEALTH = "/grpc.health.v1.Health/Check"
BEGINNING_OF_A_HELLO = b"\x16\x03\x01\x02\x00"  # the header of a record of 512 bytes
HANDSHAKE_SECONDS = 15  # three times the limit
CLEARTEXT = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def check_health(secured: Secured, client: Pair | None) -> int:
    with secured.channel(client) as channel:
        return health_pb2.HealthCheckResponse.FromString(call(channel, HEALTH, {})).status


def rest_address(secured: Secured) -> tuple[str, int]:
    host, _, port = secured.up.url.removeprefix("https://").partition(":")
    return host, int(port)


def served_certificate(address: tuple[str, int]) -> str:
    return ssl.get_server_certificate(address)


def test_callers_verify_the_certificate(secured: Secured, tmp_path: Path) -> None:
    with secured.rest() as client:
        assert client.get("/healthz").status_code == httpx.codes.OK
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{secured.up.url}/healthz", verify=trust(Authority(tmp_path)))


def test_cleartext_is_not_answered(secured: Secured) -> None:
    with socket.create_connection(rest_address(secured), timeout=20) as connection:
        connection.sendall(CLEARTEXT)
        try:
            assert not connection.recv(100)
        except ConnectionResetError:
            return


def test_a_caller_who_does_not_end_the_handshake_is_cut_off(secured: Secured) -> None:
    """On both addresses, after 5 s. Otherwise such connections would stay open, without the time limits of HTTP."""
    host, _, port = secured.grpc_address.rpartition(":")
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(address, timeout=HANDSHAKE_SECONDS))
            for address in (rest_address(secured), (host, int(port)))
        ]
        for connection in connections:
            connection.sendall(BEGINNING_OF_A_HELLO)
        assert [connection.recv(100) for connection in connections] == [b"", b""]


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")])
def test_http_2_is_offered(secured: Secured, offered: list[str], chosen: str) -> None:
    context = trust(secured.authority)
    context.set_alpn_protocols(offered)
    host, port = rest_address(secured)
    with socket.create_connection((host, port), timeout=20) as connection:
        secure = context.wrap_socket(connection, server_hostname=host)
        assert secure.selected_alpn_protocol() == chosen
        assert secure.version() in {"TLSv1.2", "TLSv1.3"}
        secure.close()


def test_grpc_callers_need_a_certificate(secured: Secured, tmp_path: Path) -> None:
    """With none, or with one of another authority, the handshake fails."""
    assert check_health(secured, secured.client) == health_pb2.HealthCheckResponse.SERVING
    for client in (None, Authority(tmp_path).issue("stranger")):
        with pytest.raises(grpc.RpcError) as error:
            check_health(secured, client)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_used_without_a_restart(secured: Secured) -> None:
    """On both addresses. Calls on older connections go on."""
    before = served_certificate(rest_address(secured))
    with secured.rest() as client:
        assert client.get("/healthz").status_code == httpx.codes.OK
        secured.authority.issue("server", "127.0.0.1", "localhost")
        wait_until(lambda: served_certificate(rest_address(secured)) != before, "the new certificate")
        assert client.get("/healthz").status_code == httpx.codes.OK
    assert secured.server.certificate.read_text() in served_certificate(rest_address(secured))
    assert check_health(secured, secured.client) == health_pb2.HealthCheckResponse.SERVING


def test_a_broken_certificate_is_not_used(secured: Secured) -> None:
    """The service goes on with the one that it has."""
    before = served_certificate(rest_address(secured))
    usual = secured.server.certificate.read_bytes()
    put(secured.server.certificate, b"broken")
    try:
        wait_until(lambda: "Failed to load" in secured.up.logged(), "Envoy's refusal")
        assert served_certificate(rest_address(secured)) == before
    finally:
        put(secured.server.certificate, usual)
