"""CORS: preflights and answers of every kind, for pages of allowed origins alone."""

import httpx
import pytest

from tests.contract import BASE
from tests.edge.conftest import BURST, ORIGIN, Secured
from tests.edge.tokens import bearer

EVENTS = f"{BASE}/events"
ALLOW_ORIGIN = "access-control-allow-origin"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-headers": "authorization,content-type,idempotency-key"}
PATHS = {
    BASE: "GET",
    f"{BASE}?page=1&mentor_id=mntr_1": "GET",
    f"{BASE}/mntr_1": "GET",
    EVENTS: "POST",
    f"{EVENTS}/evt_00000000": "DELETE",
}
ANSWERS = [
    ("GET", BASE, 200),
    ("GET", f"{BASE}?unknown=1", 400),
    ("POST", EVENTS, 400),
    ("POST", f"{EVENTS}?reason=x", 400),
    ("GET", f"{BASE}/nobody", 400),
    ("GET", "/nowhere", 404),
    ("PUT", BASE, 405),
    ("DELETE", f"{BASE}/mntr_1", 405),
    ("GET", EVENTS, 405),
    ("OPTIONS", BASE, 405),
]


def preflight(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    return client.options(path, headers=PREFLIGHT | {"access-control-request-method": "PUT"} | headers)


@pytest.mark.parametrize(("path", "method"), PATHS.items())
def test_a_preflight_is_answered(secured: Secured, path: str, method: str) -> None:
    """It carries no token, since browsers send none, and never reaches the routes that answer 405."""
    with secured.rest() as client:
        response = client.options(path, headers=PREFLIGHT | {"access-control-request-method": method})
    assert response.status_code == httpx.codes.OK
    assert response.headers[ALLOW_ORIGIN] == ORIGIN
    assert method in response.headers["access-control-allow-methods"].split(", ")
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key", "traceparent", "tracestate"} <= set(allowed)
    assert response.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "https://xapp.example", "http://app.example", "null"]
)
def test_another_origin_gets_no_permission(secured: Secured, origin: str) -> None:
    with secured.rest() as client:
        assert ALLOW_ORIGIN not in preflight(client, BASE, origin=origin).headers
        for method, path, status in ANSWERS:
            response = client.request(method, path, headers={"origin": origin} | bearer(secured.issuer.token()))
            assert (response.status_code, response.headers.get(ALLOW_ORIGIN)) == (status, None)


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_can_be_read_by_the_page(secured: Secured, method: str, path: str, status: int) -> None:
    """Also errors, by the gateway, by the service, and by the routes that refuse a method."""
    headers = {"origin": "https://other.example"} | bearer(secured.issuer.token())
    with secured.rest() as client:
        response = client.request(method, path, headers=headers)
    assert response.status_code == status
    assert response.headers.get_list(ALLOW_ORIGIN) == ["https://other.example"]
    assert "x-request-id" in response.headers["access-control-expose-headers"]
    if status == httpx.codes.METHOD_NOT_ALLOWED:
        assert response.headers["allow"]


def test_refusals_can_be_read_by_the_page(secured: Secured) -> None:
    """401, and 429 of the rate limit."""
    with secured.rest() as client:
        responses = [client.get(BASE, headers={"origin": ORIGIN}) for _ in range(BURST)]
    assert {response.status_code for response in responses} == {401, 429}
    assert all(response.headers[ALLOW_ORIGIN] == ORIGIN for response in responses)


def test_callers_that_are_no_pages_get_no_headers(secured: Secured) -> None:
    with secured.rest() as client:
        response = client.get(BASE, headers=bearer(secured.issuer.token()))
    assert not [name for name in response.headers if name.startswith("access-control-")]
