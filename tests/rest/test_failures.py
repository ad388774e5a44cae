"""What callers see of servers that fail, are slow, or are gone: the gateway before a stub."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from mentorsync.rpc.errors import status_metadata, status_of
from mentorsync.storage.errors import OverloadedError
from mentorsync_gateway.config import Address, Config, connection_manager, contract_routes, separate
from mentorsync_gateway.launcher import Gateway

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
SERVICE = "mentorstatus.v1.MentorStatusSync"
ANYWHERE: Address = ("127.0.0.1", 0)
MANY_TRIES = 20_000  # requests until what must come has come; one takes a fraction of a millisecond
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14

StartGateway = Callable[[Config], Gateway]


def test_without_a_server_the_gateway_says_unavailable(start_gateway: StartGateway, dead_address: Address) -> None:
    """503 with `Retry-After`, on /healthz too."""
    url = serve(start_gateway, dead_address)
    for path in ("/healthz", BASE):
        assert_unavailable(httpx.get(url + path))


def test_a_server_that_does_not_serve_gets_no_calls(start_gateway: StartGateway, stub: Any) -> None:
    """Its gRPC health decides, in both directions, also for the only server."""
    url = serve(start_gateway, stub.address)
    until_status(f"{url}/healthz", 200)
    stub.health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    until_status(f"{url}/healthz", 503)
    assert_unavailable(httpx.get(url + BASE))
    assert stub.metadata == []
    stub.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    until_status(f"{url}/healthz", 200)
    until_status(url + BASE, 200)  # Envoy's workers learn of it a moment after /healthz does


def test_an_overloaded_server_is_heard(start_gateway: StartGateway, stub: Any) -> None:
    """Its status, details and `Retry-After` arrive, however often it says so; nothing is repeated."""
    url = serve(start_gateway, stub.address)
    status = status_of(OverloadedError())
    stub.answer = lambda context: abort(context, status)
    answers = [httpx.post(f"{url}{BASE}/events") for _ in range(30)]
    for answer in answers:
        body = assert_unavailable(answer)
        assert body["message"] == status.message
        assert [detail["@type"].rpartition(".")[2] for detail in body["details"]] == ["ErrorInfo", "RetryInfo"]
        assert body["details"][0]["reason"] == "OVERLOADED"
        assert body["details"][1]["retry_delay"] == "1s"
    assert len(stub.metadata) == len(answers)


def test_a_server_gives_up_at_the_deadline(start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """504 in the error shape; the server was told the deadline."""
    config = separate(ANYWHERE, ANYWHERE, [stub.address])
    for route in contract_routes(config):
        route["request_headers_to_add"][0]["header"]["value"] = "200m"
    stub.answer = wait_for(released)
    assert_deadline_exceeded(httpx.get(serve_config(start_gateway, config) + BASE))


def test_a_server_deaf_to_the_deadline_is_given_up(start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """504 by the gateway, in the error shape."""
    config = separate(ANYWHERE, ANYWHERE, [stub.address])
    for route in contract_routes(config):
        route["route"]["timeout"] = "0.2s"
    stub.answer = wait_for(released)
    answer = httpx.get(serve_config(start_gateway, config) + BASE)
    assert assert_deadline_exceeded(answer)["details"] == []


@pytest.mark.parametrize(
    "unfinished",
    [f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", "GET / HTTP/1.1\r\n"],
    ids=["body", "headers"],
)
def test_a_caller_who_does_not_finish_is_given_up(
    start_gateway: StartGateway,
    exchange_bytes: Callable[[Address, bytes], httpx.Response],
    stub: Any,
    unfinished: str,
) -> None:
    """408 in the error shape when body or headers stay away; the server hears nothing of it."""
    config = separate(ANYWHERE, ANYWHERE, [stub.address])
    connection_manager(config)["request_timeout"] = connection_manager(config)["request_headers_timeout"] = "0.2s"
    answer = exchange_bytes(start_gateway(config).addresses["rest"], unfinished.encode())
    assert_error(answer, 408, DEADLINE_EXCEEDED)
    assert stub.metadata == []


def test_an_upstream_may_be_a_name(start_gateway: StartGateway, stub: Any) -> None:
    """A name stands for all its addresses: of localhost's, the one without a server is left out."""
    url = serve(start_gateway, ("localhost", stub.address[1]))
    until_status(f"{url}/healthz", 200)
    assert {httpx.get(url + BASE).status_code for _ in range(10)} == {200}


def test_ipv6_is_listened_on(start_gateway: StartGateway, stub: Any) -> None:
    """REST and the admin interface, on loopback."""
    config = separate(("::1", 0), ("::1", 0), [stub.address])
    rest = start_gateway(config).addresses["rest"]
    assert httpx.get(f"http://[{rest[0]}]:{rest[1]}{BASE}").status_code == 200


def test_the_server_is_told_what_it_needs_and_no_more(start_gateway: StartGateway, stub: Any) -> None:
    """Request id, key and deadline go upstream; a caller cannot change timeouts or retries."""
    remaining = []

    def answer(context: grpc.ServicerContext) -> bytes:
        remaining.append(context.time_remaining())
        return b""

    stub.answer = answer
    headers = {
        "x-request-id": "phone-7",
        "idempotency-key": "k1",
        "grpc-timeout": "1n",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-expected-rq-timeout-ms": "1",
    }
    url = serve(start_gateway, stub.address)
    assert httpx.post(f"{url}{BASE}/events", headers=headers).headers["x-request-id"] == "phone-7"
    (metadata,) = stub.metadata
    assert metadata["x-request-id"] == "phone-7"
    assert metadata["idempotency-key"] == "k1"
    assert not {"x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on", "x-envoy-expected-rq-timeout-ms"} & {*metadata}
    assert 5 < remaining[0] < 10


def test_a_call_goes_on_to_another_server_when_one_cannot_be_reached(
    start_gateway: StartGateway, stub: Any, dead_address: Address
) -> None:
    """Callers see no error although nobody has found out yet that one server is gone."""
    url = serve_config(start_gateway, without_watch(separate(ANYWHERE, ANYWHERE, [stub.address, dead_address])))
    assert {httpx.get(url + BASE).status_code for _ in range(20)} == {200}


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
    gateway = start_gateway(separate(ANYWHERE, ANYWHERE, [stub.address, other_stub.address], ANYWHERE))
    host, port = gateway.addresses["grpc"]
    until_status(f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}/healthz", 200)
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
        for _ in range(MANY_TRIES):
            call(b"", timeout=20, metadata=(("x-request-id", "internal"),))
            if stub.metadata and other_stub.metadata:
                break
    assert stub.metadata[0]["x-request-id"] == other_stub.metadata[0]["x-request-id"] == "internal"


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


def until_both_are_called(call: Callable[[], object], *stubs: Any) -> None:
    for stub in stubs:
        stub.metadata.clear()
    for _ in range(MANY_TRIES):
        call()
        if all(stub.metadata for stub in stubs):
            return
    raise AssertionError("a server gets no calls")


def serve(start_gateway: StartGateway, *upstreams: Address) -> str:
    return serve_config(start_gateway, separate(ANYWHERE, ANYWHERE, upstreams))


def serve_config(start_gateway: StartGateway, config: Config) -> str:
    host, port = start_gateway(config).addresses["rest"]
    return f"http://{host}:{port}"


def without_watch(config: Config) -> Config:
    """Nobody notices that a server is gone but a call that meets it."""
    for watch in ("health_checks", "outlier_detection"):
        del config["static_resources"]["clusters"][0][watch]
    return config


def until_status(url: str, status: int) -> None:
    with httpx.Client(timeout=20) as client:
        assert any(client.get(url).status_code == status for _ in range(MANY_TRIES))


def abort(context: grpc.ServicerContext, status: status_pb2.Status) -> bytes:
    context.set_trailing_metadata(status_metadata(status, "id"))
    context.abort(grpc.StatusCode.UNAVAILABLE, status.message)


def wait_for(released: Event) -> Callable[[grpc.ServicerContext], bytes]:
    def answer(_context: grpc.ServicerContext) -> bytes:
        released.wait()
        return b""

    return answer


def assert_unavailable(response: httpx.Response) -> Mapping[str, Any]:
    assert response.headers["retry-after"] == "1"
    return assert_error(response, 503, UNAVAILABLE)


def assert_deadline_exceeded(response: httpx.Response) -> Mapping[str, Any]:
    return assert_error(response, 504, DEADLINE_EXCEEDED)


def assert_error(response: httpx.Response, status: int, code: int) -> Mapping[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body: Mapping[str, Any] = response.json()
    assert body.keys() == {"code", "message", "details"}
    assert body["code"] == code
    assert body["message"]
    return body
