"""What callers see of servers that fail, are slow, or are gone: the gateway before a stub."""

from collections.abc import Callable
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from mentorsync.rpc.errors import status_metadata, status_of
from mentorsync.storage.errors import OverloadedError
from mentorsync_gateway.config import Address, connection_manager, contract_routes, separate

from tests.rest.answers import (
    ANYWHERE,
    BASE,
    DEADLINE_EXCEEDED,
    StartGateway,
    assert_deadline_exceeded,
    assert_error,
    assert_unavailable,
    serve,
    serve_config,
    until_status,
)

SERVICE = "mentorstatus.v1.MentorStatusSync"


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


def abort(context: grpc.ServicerContext, status: status_pb2.Status) -> bytes:
    context.set_trailing_metadata(status_metadata(status, "id"))
    context.abort(grpc.StatusCode.UNAVAILABLE, status.message)


def wait_for(released: Event) -> Callable[[grpc.ServicerContext], bytes]:
    def answer(_context: grpc.ServicerContext) -> bytes:
        released.wait()
        return b""

    return answer
