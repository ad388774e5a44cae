"""How the gateway chooses a server, and what it does when that server cannot take the call."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mentorsync_gateway.config import Address, Config, separate

from tests.contract import BASE
from tests.gateway_process import running_gateway
from tests.rest.answers import (
    FREE_PORT,
    StartGateway,
    assert_unavailable,
    serve,
    serve_config,
    wait_for_status,
)
from tests.rest.odd_servers import NameServer, RefusingServer
from tests.server_process import Database, ServerProcess, address_of, hold_port, wait_until

SERVICE = "mentorstatus.v1.MentorStatusSync"
FAILURES_BEFORE_EJECTION = 20  # as in envoy.yaml
SUCCESSES_IN_A_ROW = 40  # too many to be chance while one of two servers still fails


def test_an_upstream_name_is_resolved_to_all_its_addresses(
    start_gateway: StartGateway, stub: Any, stub_beside: Any
) -> None:
    """Each of the addresses gets calls."""
    with NameServer(stub.address[0], stub_beside.address[0]) as name_server:
        config = separate(FREE_PORT, FREE_PORT, [("servers.test", stub.address[1])])
        use_name_server(config, name_server.address)
        url = serve_config(start_gateway, config)
        with httpx.Client(timeout=20) as client:
            call_until_each_is_called(lambda: client.get(url + BASE), stub, stub_beside)


def use_name_server(config: Config, name_server: Address) -> None:
    """Makes Envoy use this name server instead of the machine's."""
    host, port = name_server
    config["static_resources"]["clusters"][0]["cluster_type"]["typed_config"]["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": host, "port_value": port}}],
        },
    }


def test_a_server_that_fails_every_call_is_ejected(start_gateway: StartGateway, stub: Any, other_stub: Any) -> None:
    """Its health is still SERVING, and the other server then gets all calls."""
    stub.answer = lambda context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    url = serve(start_gateway, stub.address, other_stub.address)
    wait_for_status(f"{url}/healthz", 200)
    with httpx.Client(timeout=20) as client:
        wait_until(
            lambda: all(client.get(url + BASE).status_code == httpx.codes.OK for _ in range(SUCCESSES_IN_A_ROW)),
            f"{SUCCESSES_IN_A_ROW} successful calls in a row",
        )
    assert len(stub.metadata) >= FAILURES_BEFORE_EJECTION


def test_a_call_is_retried_on_another_server_if_one_cannot_be_reached(
    start_gateway: StartGateway, stub: Any, dead_address: Address
) -> None:
    """Callers see no error, even before the gateway has noticed that the server is gone."""
    url = serve_config(
        start_gateway, without_health_checks(separate(FREE_PORT, FREE_PORT, [stub.address, dead_address]))
    )
    assert {httpx.get(url + BASE).status_code for _ in range(20)} == {200}


def test_a_call_is_retried_on_another_server_if_one_refuses_it(start_gateway: StartGateway, stub: Any) -> None:
    """A stopping server sends REFUSED_STREAM, which means that it has not started the call."""
    with RefusingServer() as refusing:
        config = without_health_checks(separate(FREE_PORT, FREE_PORT, [refusing.address, stub.address]))
        url = serve_config(start_gateway, config)
        assert {httpx.post(f"{url}{BASE}/events").status_code for _ in range(20)} == {200}
        assert refusing.refused


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["none", "not HTTP/2"])
def test_a_call_that_may_have_reached_a_server_is_not_retried(start_gateway: StartGateway, last_words: bytes) -> None:
    """If the connection breaks after the call was sent, the gateway answers 503 and does not retry."""
    with socket.create_server(FREE_PORT) as listener, ThreadPoolExecutor(1) as pool:
        url = serve_config(
            start_gateway, without_health_checks(separate(FREE_PORT, FREE_PORT, [listener.getsockname()]))
        )
        answer = pool.submit(httpx.post, f"{url}{BASE}/events")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1)
            if last_words:
                connection.sendall(last_words)
        assert_unavailable(answer.result())
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_internal_grpc_is_balanced_on_its_own_listener(start_gateway: StartGateway, stub: Any, other_stub: Any) -> None:
    """Calls, health checks and deadlines reach all servers. REST is not served on this listener."""
    remaining: list[float] = []

    def answer(context: grpc.ServicerContext) -> bytes:
        remaining.append(context.time_remaining())
        return b""

    stub.answer = other_stub.answer = answer
    gateway = start_gateway(separate(FREE_PORT, FREE_PORT, [stub.address, other_stub.address], FREE_PORT))
    host, port = gateway.addresses["grpc"]
    wait_for_status(f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}/healthz", 200)
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
        metadata = (("x-request-id", "internal"),)
        call_until_each_is_called(lambda: call(b"", timeout=60, metadata=metadata), stub, other_stub)
        health: Any = health_pb2_grpc.HealthStub(channel)
        health_of_service = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert stub.metadata[0]["x-request-id"] == other_stub.metadata[0]["x-request-id"] == "internal"
    assert all(20 < seconds < 61 for seconds in remaining)  # the caller's deadline, not the gateway's
    assert health_of_service.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://{host}:{port}{BASE}")


def test_the_gateway_command_reports_that_no_server_is_healthy(tmp_path: Path) -> None:
    """Once at the start, with the names to check, once when a server is healthy, and once when it is killed."""
    database, log = Database(tmp_path / "mentorsync.db"), tmp_path / "gateway.log"
    database.migrate()
    with hold_port() as holder, running_gateway(upstream := address_of(holder), log):
        wait_until(lambda: f"the servers of --upstream {upstream}" in log.read_text(), "the report")
        started = {"MENTORSYNC_GRPC_ADDRESS": upstream}
        server = ServerProcess(database, tmp_path / "server.log", variables=started)
        wait_until(lambda: "a server is healthy again" in log.read_text(), "the recovery")
        server.kill()
        wait_until(lambda: log.read_text().count("no server is healthy") == 2, "another report")


def test_the_gateway_command_accepts_several_upstreams_and_a_grpc_address(stub: Any, other_stub: Any) -> None:
    """An upstream may be a name. Both listeners send calls to all upstreams."""
    flags = [f"--upstream=localhost:{stub.address[1]}", f"--upstream=127.0.0.1:{other_stub.address[1]}"]
    flags += [f"--{listener}-address=127.0.0.1:0" for listener in ("rest", "gateway-grpc", "gateway-admin")]
    with subprocess.Popen([sys.executable, "-m", "mentorsync", "gateway", *flags], stdout=subprocess.PIPE) as gateway:
        try:
            assert gateway.stdout
            ready = json.loads(gateway.stdout.readline())
            assert ready["upstreams"] == [f"localhost:{stub.address[1]}", f"127.0.0.1:{other_stub.address[1]}"]
            wait_for_status(f"http://{ready['rest']}/healthz", 200)
            with grpc.insecure_channel(ready["grpc"]) as channel:
                call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
                call_until_each_is_called(lambda: call(b"", timeout=20), stub, other_stub)
            with httpx.Client(timeout=20) as client:
                call_until_each_is_called(lambda: client.get(f"http://{ready['rest']}{BASE}"), stub, other_stub)
        finally:
            gateway.send_signal(signal.SIGINT)
    assert gateway.returncode == 0


def without_health_checks(config: Config) -> Config:
    """Removes the checks, so that Envoy notices a missing server only when it sends a call to it."""
    for cluster in config["static_resources"]["clusters"]:
        for check in ("health_checks", "outlier_detection"):
            cluster.pop(check, None)
    return config


def call_until_each_is_called(call: Callable[[], object], *stubs: Any) -> None:
    for stub in stubs:
        stub.metadata.clear()

    def has_each_been_called() -> bool:
        call()
        return all(stub.metadata for stub in stubs)

    wait_until(has_each_been_called, "a call to each server")
