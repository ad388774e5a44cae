"""JWT: who gets in, what strangers are told, and what the service learns. In both layouts, over REST and gRPC."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE
from tests.edge.conftest import Secured, call, own_address
from tests.edge.tokens import HOUR, Issuer, bearer
from tests.rest.answers import assert_error
from tests.server_process import wait_until

UNAUTHENTICATED = 16
CLOCK_SKEW = 60  # seconds by which clocks may differ
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/Check"
BAD_TOKENS: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - HOUR),
    "not yet valid": lambda issuer: issuer.token(nbf=int(time.time()) + HOUR),
    "without an end": lambda issuer: issuer.token(exp=None),
    "of another issuer": lambda issuer: issuer.token(iss="https://other.example"),
    "without an issuer": lambda issuer: issuer.token(iss=None),
    "for another audience": lambda issuer: issuer.token(aud="another-service"),
    "without an audience": lambda issuer: issuer.token(aud=None),
    "signed by another key": lambda _issuer: Issuer().token(),
    "signed by an unknown key": lambda _issuer: Issuer("unknown").token(),
    "unsigned": lambda issuer: issuer.unsigned(),
    "with another payload": lambda issuer: issuer.token().replace(".", ".x", 1),
    "malformed": lambda _issuer: "no.token",
}


def list_over_grpc(secured: Secured, metadata: dict[str, str]) -> Any:
    with secured.channel(secured.client) as channel:
        headers = tuple((metadata | own_address()).items())
        return MentorStatusSyncStub(channel).ListSyncEvents(pb.ListSyncEventsRequest(), metadata=headers, timeout=20)  # type: ignore[arg-type] # the stub is for both kinds of channels


def assert_refused(response: httpx.Response) -> None:
    assert_error(response, 401, UNAUTHENTICATED)
    assert response.headers["www-authenticate"].startswith('Bearer realm="mentorsync"')
    assert response.json()["details"] == []


def test_a_valid_token_is_let_in(secured: Secured) -> None:
    with secured.rest() as client:
        assert client.get(BASE, headers=bearer(secured.issuer.token())).status_code == httpx.codes.OK
    assert list_over_grpc(secured, bearer(secured.issuer.token())).pagination.page == 1


def test_the_scheme_may_be_in_lower_case(secured: Secured) -> None:
    """RFC 9110 compares schemes without regard to case."""
    headers = {"authorization": f"bearer {secured.issuer.token()}"}
    with secured.rest() as client:
        assert client.get(BASE, headers=headers).status_code == httpx.codes.OK
    assert list_over_grpc(secured, headers).pagination.page == 1


def test_no_token_is_refused(secured: Secured) -> None:
    """The challenge names no error, as RFC 6750 wants it. Unknown paths and methods are refused as well."""
    with secured.rest() as client:
        for path in (BASE, f"{BASE}/mntr_1", "/", "/nowhere"):
            response = client.get(path)
            assert_refused(response)
            assert "error" not in response.headers["www-authenticate"]
        assert_refused(client.post(f"{BASE}/events", json={}))
        assert_refused(client.put(BASE))


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused(secured: Secured, name: str) -> None:
    token = BAD_TOKENS[name](secured.issuer)
    with secured.rest() as client:
        response = client.get(BASE, headers={"authorization": f"Bearer {token}"})
    assert_refused(response)
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    with pytest.raises(grpc.RpcError) as error:
        list_over_grpc(secured, {"authorization": f"Bearer {token}"})
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_in_the_query_is_refused(secured: Secured) -> None:
    """Queries end up in logs. The answer does not repeat it either."""
    token = secured.issuer.token()
    with secured.rest() as client:
        response = client.get(BASE, params={"access_token": token})
    assert_refused(response)
    assert token not in str(response.headers)
    assert token not in response.text


@pytest.mark.parametrize("value", ["Basic bWU6bWU=", "bearer", "Bearer"])
def test_another_scheme_is_refused(secured: Secured, value: str) -> None:
    with secured.rest() as client:
        assert_refused(client.get(BASE, headers={"authorization": value}))


def test_health_needs_no_token(secured: Secured) -> None:
    """Load balancers have none."""
    with secured.rest() as client:
        assert client.get("/healthz").status_code == httpx.codes.OK
        assert client.put("/healthz").status_code == httpx.codes.METHOD_NOT_ALLOWED
    with secured.channel(secured.client) as channel:
        answer = health_pb2.HealthCheckResponse.FromString(call(channel, HEALTH, {}))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("method", [REFLECTION, "/unknown.Service/Method", "/mentorstatus.v1.MentorStatusSync/Unknown"])
def test_all_else_over_grpc_needs_a_token(secured: Secured, method: str) -> None:
    with secured.channel(secured.client) as channel, pytest.raises(grpc.RpcError) as error:
        call(channel, method, {})
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_that_was_accepted_is_refused_once_it_has_ended(secured: Secured) -> None:
    """Envoy remembers tokens that it has checked, but not for longer than they last."""
    with secured.rest() as client:
        assert client.get("/healthz").status_code == httpx.codes.OK  # connects, which takes the longest
        token = secured.issuer.token(exp=int(time.time()) - CLOCK_SKEW + 4)
        assert client.get(BASE, headers=bearer(token)).status_code == httpx.codes.OK

        def is_refused() -> bool:
            return client.get(BASE, headers=bearer(token) | own_address()).status_code == httpx.codes.UNAUTHORIZED

        wait_until(is_refused, "the end of the token")


def test_new_keys_are_used_without_a_restart(secured: Secured) -> None:
    """The old keys are no longer accepted. Keys that cannot be read change nothing."""
    second = Issuer("second")
    with secured.rest() as client:

        def accepts(issuer: Issuer) -> bool:
            new = issuer.token(jti=str(uuid4()))  # Envoy remembers tokens that it has checked
            headers = bearer(new) | own_address()
            return client.get(BASE, headers=headers).status_code == httpx.codes.OK

        assert not accepts(second)
        second.publish(secured.jwks)
        wait_until(lambda: accepts(second), "the new keys")
        assert not accepts(secured.issuer)
        secured.jwks.unlink()
        assert accepts(second)
        secured.issuer.publish(secured.jwks)
        wait_until(lambda: accepts(secured.issuer), "the old keys")
