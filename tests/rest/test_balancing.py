"""How the gateway chooses among servers, and what it does when its choice was wrong."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mentorsync_gateway.config import Address, Config, separate

from tests.rest.answers import (
    ANYWHERE,
    BASE,
    MANY_TRIES,
    StartGateway,
    assert_unavailable,
    serve,
    serve_config,
    until_status,
)
from tests.rest.odd_servers import NameServer, RefusingServer

SERVICE = "mentorstatus.v1.MentorStatusSync"
FAILURES_BEFORE_EJECTION = 20  # of envoy.yaml
ALL_GOOD = 40  # answers in a row: by chance they would not all come from one of two servers


def test_a_name_stands_for_all_its_addresses(start_gateway: StartGateway, stub: Any, stub_beside: Any) -> None:
    """Calls go to the servers at each of them."""
    with NameServer(stub.address[0], stub_beside.address[0]) as name_server:
        config = separate(ANYWHERE, ANYWHERE, [("servers.test", stub.address[1])])
        ask(config, name_server.address)
        url = serve_config(start_gateway, config)
        with httpx.Client(timeout=20) as client:
            until_both_are_called(lambda: client.get(url + BASE), stub, stub_beside)


def ask(config: Config, name_server: Address) -> None:
    """Has Envoy ask this name server in place of the machine's."""
    host, port = name_server
    config["static_resources"]["clusters"][0]["cluster_type"]["typed_config"]["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": host, "port_value": port}}],
        },
    }


def test_a_server_that_fails_call_after_call_is_left_out(
    start_gateway: StartGateway, stub: Any, other_stub: Any
) -> None:
    """Although its health says SERVING: the other gets all calls then."""
    stub.answer = lambda context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    url = serve(start_gateway, stub.address, other_stub.address)
    until_status(f"{url}/healthz", 200)
    with httpx.Client(timeout=20) as client:
        in_a_row = 0
        for _ in range(MANY_TRIES):
            in_a_row = in_a_row + 1 if client.get(url + BASE).status_code == httpx.codes.OK else 0
            if in_a_row == ALL_GOOD:
                break
    assert in_a_row == ALL_GOOD
    assert len(stub.metadata) >= FAILURES_BEFORE_EJECTION


def test_a_call_goes_on_to_another_server_when_one_cannot_be_reached(
    start_gateway: StartGateway, stub: Any, dead_address: Address
) -> None:
    """Callers see no error although nobody has found out yet that one server is gone."""
    url = serve_config(start_gateway, without_watch(separate(ANYWHERE, ANYWHERE, [stub.address, dead_address])))
    assert {httpx.get(url + BASE).status_code for _ in range(20)} == {200}


def test_a_call_goes_on_to_another_server_when_one_refuses_it(start_gateway: StartGateway, stub: Any) -> None:
    """REFUSED_STREAM says that the call was not begun, as a server does that is about to stop."""
    with RefusingServer() as refusing:
        config = without_watch(separate(ANYWHERE, ANYWHERE, [refusing.address, stub.address]))
        url = serve_config(start_gateway, config)
        assert {httpx.post(f"{url}{BASE}/events").status_code for _ in range(20)} == {200}
        assert refusing.refused


def test_a_call_that_may_have_reached_a_server_is_not_repeated(start_gateway: StartGateway) -> None:
    """The connection breaks after the call was sent: 503, and no second try."""
    with socket.create_server(ANYWHERE) as listener, ThreadPoolExecutor(1) as pool:
        url = serve_config(start_gateway, without_watch(separate(ANYWHERE, ANYWHERE, [listener.getsockname()])))
        answer = pool.submit(httpx.post, f"{url}{BASE}/events")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1)
        assert_unavailable(answer.result())
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_internal_grpc_is_balanced_on_its_own_listener(start_gateway: StartGateway, stub: Any, other_stub: Any) -> None:
    """Calls, health and deadlines pass through, over all servers; REST is not there."""
    remaining: list[float] = []

    def answer(context: grpc.ServicerContext) -> bytes:
        remaining.append(context.time_remaining())
        return b""

    stub.answer = other_stub.answer = answer
    gateway = start_gateway(separate(ANYWHERE, ANYWHERE, [stub.address, other_stub.address], ANYWHERE))
    host, port = gateway.addresses["grpc"]
    until_status(f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}/healthz", 200)
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
        metadata = (("x-request-id", "internal"),)
        until_both_are_called(lambda: call(b"", timeout=60, metadata=metadata), stub, other_stub)
        health: Any = health_pb2_grpc.HealthStub(channel)
        health_of_service = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert stub.metadata[0]["x-request-id"] == other_stub.metadata[0]["x-request-id"] == "internal"
    assert all(20 < seconds < 61 for seconds in remaining)  # the caller's, not one of the gateway's
    assert health_of_service.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://{host}:{port}{BASE}")


def test_the_command_takes_several_upstreams_and_an_address_for_grpc(stub: Any, other_stub: Any) -> None:
    """An upstream may be a name. What comes to either listener goes to all of them."""
    flags = [f"--upstream=localhost:{stub.address[1]}", f"--upstream=127.0.0.1:{other_stub.address[1]}"]
    flags += [f"--{listener}-address=127.0.0.1:0" for listener in ("rest", "gateway-grpc", "gateway-admin")]
    with subprocess.Popen([sys.executable, "-m", "mentorsync", "gateway", *flags], stdout=subprocess.PIPE) as gateway:
        try:
            assert gateway.stdout
            ready = json.loads(gateway.stdout.readline())
            until_status(f"http://{ready['rest']}/healthz", 200)
            with grpc.insecure_channel(ready["grpc"]) as channel:
                call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
                until_both_are_called(lambda: call(b"", timeout=20), stub, other_stub)
            with httpx.Client(timeout=20) as client:
                until_both_are_called(lambda: client.get(f"http://{ready['rest']}{BASE}"), stub, other_stub)
        finally:
            gateway.send_signal(signal.SIGINT)
    assert gateway.returncode == 0


def without_watch(config: Config) -> Config:
    """Nobody notices that a server is gone but a call that meets it."""
    for watch in ("health_checks", "outlier_detection"):
        del config["static_resources"]["clusters"][0][watch]
    return config


def until_both_are_called(call: Callable[[], object], *stubs: Any) -> None:
    for stub in stubs:
        stub.metadata.clear()
    for _ in range(MANY_TRIES):
        call()
        if all(stub.metadata for stub in stubs):
            return
    raise AssertionError("a server gets no calls")
