"""Functions for tests of a gateway in front of stub servers: they start it, wait for it and check its answers."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Address, Config, separate

from tests.server_process import wait_until

FREE_PORT: Address = ("127.0.0.1", 0)  # the system chooses the port
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14

StartGateway = Callable[[Config], Envoy]


def serve(start_gateway: StartGateway, *upstreams: Address) -> str:
    """Starts a gateway in front of these servers and returns its URL."""
    return serve_config(start_gateway, separate(FREE_PORT, FREE_PORT, upstreams))


def serve_config(start_gateway: StartGateway, config: Config) -> str:
    host, port = start_gateway(config).addresses["rest"]
    return f"http://{host}:{port}"


def wait_for_status(url: str, status: int) -> None:
    with httpx.Client(timeout=20) as client:
        wait_until(lambda: client.get(url).status_code == status, f"status {status} from {url}")


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
