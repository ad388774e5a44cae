"""TLS between a gateway and servers on other machines, and what strangers can do at the servers' own address."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
from mentorsync_gateway import security
from mentorsync_gateway.config import separate
from mentorsync_gateway.security.values import Certificate, SecuritySettings, Upstream

from tests.contract import BASE
from tests.edge.certificates import Authority, Pair, put
from tests.edge.conftest import call
from tests.rest.answers import wait_for_status
from tests.rest.conftest import FREE_PORT, Run, running_gateway
from tests.server_process import Database, ServerProcess, wait_until

HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the servers and of their gateway."""
    return Authority(tmp_path_factory.mktemp("servers"), "servers")


@pytest.fixture(scope="module")
def server(servers: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    database = Database(folder / "mentorsync.db")
    database.migrate()
    settings = servers.issue("server", "127.0.0.1").settings | {"grpc_client_ca": str(servers.ca)}
    variables = {f"MENTORSYNC_{name.upper()}": value for name, value in settings.items()}
    process = ServerProcess(database, folder / "server.log", variables=variables)
    yield process
    process.kill()


class Gateway(NamedTuple):
    url: str
    admin: str

    def wait_for_failed_check(self) -> None:
        """Waits until the gateway has tried to reach its server, and has failed."""
        stats = f"{self.admin}/stats?filter=^cluster.mentorsync.health_check.failure$"
        wait_until(lambda: int(httpx.get(stats).text.split()[-1]), "a failed health check")


@contextmanager
def gateway_to(server: ServerProcess, run: Run, folder: Path, upstream: Upstream | None) -> Iterator[Gateway]:
    host, _, port = server.grpc.partition(":")
    config = separate(FREE_PORT, FREE_PORT, [(host, int(port))])
    security.apply(config, SecuritySettings(upstream=upstream), folder)
    with running_gateway(run, config) as gateway:
        yield Gateway(*("http://{}:{}".format(*gateway.addresses[name]) for name in ("rest", "admin")))


def as_certificate(pair: Pair) -> Certificate:
    return Certificate(str(pair.certificate), str(pair.key))


def dialled(server: ServerProcess, ca: Path, client: Pair | None) -> bytes:
    """Asks the server itself for its health."""
    own = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    with grpc.secure_channel(server.grpc, credentials, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        return call(channel, HEALTH, {})


def test_a_gateway_with_a_certificate_is_served(
    run: Run, tmp_path: Path, server: ServerProcess, servers: Authority
) -> None:
    """Its health checks too. It keeps working when both sides have got new certificates."""
    upstream = Upstream(str(servers.ca), as_certificate(servers.issue("gateway")))
    with gateway_to(server, run, tmp_path, upstream) as gateway:
        wait_for_status(f"{gateway.url}/healthz", httpx.codes.OK)
        assert httpx.get(f"{gateway.url}{BASE}").status_code == httpx.codes.OK
        servers.issue("gateway")
        servers.issue("server", "127.0.0.1")
        wait_for_status(f"{gateway.url}/healthz", httpx.codes.OK)
        assert httpx.get(f"{gateway.url}{BASE}").status_code == httpx.codes.OK


@pytest.mark.parametrize("stranger", ["no certificate", "another certificate", "another server", "no TLS"])
def test_other_gateways_are_not(
    run: Run, tmp_path: Path, server: ServerProcess, servers: Authority, stranger: str
) -> None:
    """Nor does a gateway talk to a server whose authority it does not trust. Callers get 503."""
    others = Authority(tmp_path, "others")
    own = as_certificate(servers.issue("gateway"))
    upstream = {
        "no certificate": Upstream(str(servers.ca), None),
        "another certificate": Upstream(str(servers.ca), as_certificate(others.issue("stranger"))),
        "another server": Upstream(str(others.ca), own),
        "no TLS": None,
    }[stranger]
    with gateway_to(server, run, tmp_path, upstream) as gateway:
        gateway.wait_for_failed_check()
        response = httpx.get(f"{gateway.url}{BASE}")
        assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert response.json()["code"] == grpc.StatusCode.UNAVAILABLE.value[0]
        assert httpx.get(f"{gateway.url}/healthz").status_code == httpx.codes.SERVICE_UNAVAILABLE


def test_a_gateway_checks_the_servers_name(run: Run, tmp_path: Path, servers: Authority) -> None:
    """A certificate for another host is not accepted, although the authority is the right one."""
    database = Database(tmp_path / "mentorsync.db")
    database.migrate()
    settings = servers.issue("elsewhere", "elsewhere.example").settings
    variables = {f"MENTORSYNC_{name.upper()}": value for name, value in settings.items()}
    server = ServerProcess(database, tmp_path / "server.log", variables=variables)
    try:
        with gateway_to(server, run, tmp_path, Upstream(str(servers.ca), None)) as gateway:
            gateway.wait_for_failed_check()
            assert httpx.get(f"{gateway.url}{BASE}").status_code == httpx.codes.SERVICE_UNAVAILABLE
    finally:
        server.kill()


def test_strangers_cannot_call_the_server(server: ServerProcess, servers: Authority, tmp_path: Path) -> None:
    """Only callers with a certificate of the authority can."""
    assert dialled(server, servers.ca, servers.issue("caller"))
    for client in (None, Authority(tmp_path).issue("stranger")):
        with pytest.raises(grpc.RpcError) as error:
            dialled(server, servers.ca, client)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_server_uses_new_files_without_a_restart(server: ServerProcess, servers: Authority, tmp_path: Path) -> None:
    """A certificate of another authority, and a key that does not belong to the certificate."""
    caller, host = servers.issue("caller"), ("127.0.0.1", int(server.grpc.rpartition(":")[2]))
    pair = servers.issue("server", "127.0.0.1")
    new = pair.certificate.read_text().strip()
    wait_until(lambda: new in ssl.get_server_certificate(host), "the new certificate")
    usual = pair.key.read_bytes()
    put(pair.key, Authority(tmp_path).issue("server").key.read_bytes())
    assert dialled(server, servers.ca, caller)
    assert new in ssl.get_server_certificate(host)
    put(pair.key, usual)
    assert dialled(server, servers.ca, caller)
