"""Gateways before stubs: how they are started, waited for, and what their answers must be."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
from mentorsync_gateway.config import Address, Config, separate
from mentorsync_gateway.launcher import Gateway

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
ANYWHERE: Address = ("127.0.0.1", 0)
MANY_TRIES = 20_000  # requests until what must come has come; one takes a fraction of a millisecond
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14

StartGateway = Callable[[Config], Gateway]


def serve(start_gateway: StartGateway, *upstreams: Address) -> str:
    return serve_config(start_gateway, separate(ANYWHERE, ANYWHERE, upstreams))


def serve_config(start_gateway: StartGateway, config: Config) -> str:
    host, port = start_gateway(config).addresses["rest"]
    return f"http://{host}:{port}"


def until_status(url: str, status: int) -> None:
    with httpx.Client(timeout=20) as client:
        assert any(client.get(url).status_code == status for _ in range(MANY_TRIES))


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
