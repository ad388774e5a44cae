"""The answers that callers get when servers fail, are slow or cannot be reached. A gateway runs in front of a stub."""

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

from tests.contract import BASE
from tests.rest.answers import (
    DEADLINE_EXCEEDED,
    FREE_PORT,
    StartGateway,
    assert_deadline_exceeded,
    assert_error,
    assert_unavailable,
    serve,
    serve_config,
    wait_for_status,
)
from tests.server_process import wait_until

SERVICE = "mentorstatus.v1.MentorStatusSync"
CALLS_IN_A_ROW = (
    20  # on new connections, so that all of Envoy's workers get some: they see a change after /healthz does
)


def test_the_gateway_answers_503_if_no_server_can_be_reached(
    start_gateway: StartGateway, dead_address: Address
) -> None:
    """The answer has `Retry-After`. /healthz answers 503 as well."""
    url = serve(start_gateway, dead_address)
    for path in ("/healthz", BASE):
        assert_unavailable(httpx.get(url + path))


def test_a_server_with_health_not_serving_gets_no_calls(start_gateway: StartGateway, stub: Any) -> None:
    """It gets calls again once its health is SERVING. The rule applies even if it is the only server."""
    url = serve(start_gateway, stub.address)
    wait_for_status(f"{url}/healthz", 200)
    stub.health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    wait_for_status(f"{url}/healthz", 503)
    wait_until(lambda: all(is_unavailable(url + BASE) for _ in range(CALLS_IN_A_ROW)), "refusals of all workers")
    stub.metadata.clear()
    assert_unavailable(httpx.get(url + BASE))
    assert stub.metadata == []
    stub.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    wait_for_status(f"{url}/healthz", 200)
    wait_for_status(url + BASE, 200)


def is_unavailable(url: str) -> bool:
    return httpx.get(url).status_code == httpx.codes.SERVICE_UNAVAILABLE


def test_the_error_of_an_overloaded_server_reaches_the_caller(start_gateway: StartGateway, stub: Any) -> None:
    """Status, details and `Retry-After` arrive, even after many such errors. The gateway does not retry."""
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


def test_a_server_ends_a_call_at_its_deadline(start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """The gateway sends the deadline to the server. The caller gets 504 in the error shape."""
    config = separate(FREE_PORT, FREE_PORT, [stub.address])
    for route in contract_routes(config):
        for header in route.get("request_headers_to_add", []):  # the live feed's route has none
            header["header"]["value"] = "200m"
    stub.answer = wait_for(released)
    assert_deadline_exceeded(httpx.get(serve_config(start_gateway, config) + BASE))


def test_the_gateway_ends_a_call_if_the_server_ignores_the_deadline(
    start_gateway: StartGateway, stub: Any, released: Event
) -> None:
    """The gateway answers 504 in the error shape."""
    config = separate(FREE_PORT, FREE_PORT, [stub.address])
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
def test_an_unfinished_request_is_answered_with_408(
    start_gateway: StartGateway,
    exchange_bytes: Callable[[Address, bytes], httpx.Response],
    stub: Any,
    unfinished: str,
) -> None:
    """If body or headers do not arrive in time, the gateway answers 408 in the error shape. The server gets no call."""
    config = separate(FREE_PORT, FREE_PORT, [stub.address])
    connection_manager(config)["request_timeout"] = connection_manager(config)["request_headers_timeout"] = "0.2s"
    answer = exchange_bytes(start_gateway(config).addresses["rest"], unfinished.encode())
    assert_error(answer, 408, DEADLINE_EXCEEDED)
    assert stub.metadata == []


def test_the_gateway_can_listen_on_ipv6(start_gateway: StartGateway, stub: Any) -> None:
    """REST and the admin interface both listen on ::1."""
    config = separate(("::1", 0), ("::1", 0), [stub.address])
    rest = start_gateway(config).addresses["rest"]
    assert httpx.get(f"http://[{rest[0]}]:{rest[1]}{BASE}").status_code == 200


def test_callers_cannot_change_timeouts_or_retries(start_gateway: StartGateway, stub: Any) -> None:
    """The server gets the request id, the idempotency key and the gateway's deadline."""
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
