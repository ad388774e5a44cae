"""The rate limit of a client address, and how proxies in front change what the address is."""

from collections.abc import Iterator

import grpc
import httpx
import pytest
from mentorsync_gateway.security.values import SecuritySettings

from tests.contract import BASE
from tests.edge.conftest import BURST, LAYOUTS, RATE_LIMIT, Secured, StartMirror, call, own_address
from tests.edge.tokens import bearer
from tests.rest.answers import assert_error
from tests.server_process import wait_until

RESOURCE_EXHAUSTED = 8
HEADER = "x-forwarded-for"


def statuses(client: httpx.Client, addresses: Iterator[str]) -> list[int]:
    return [client.get(BASE, headers={HEADER: address}).status_code for address in addresses]


def test_a_caller_over_the_limit_is_refused(secured: Secured) -> None:
    """In the error shape, until a second later. The health is never limited."""
    headers = bearer(secured.issuer.token())
    with secured.rest() as client:
        refused = next(
            response
            for response in (client.get(BASE, headers=headers) for _ in range(BURST))
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS
        )
        assert_error(refused, 429, RESOURCE_EXHAUSTED)
        assert refused.headers["retry-after"] == "1"
        assert all(client.get("/healthz").status_code == httpx.codes.OK for _ in range(BURST))
        wait_until(lambda: client.get(BASE, headers=headers).status_code == httpx.codes.OK, "the next second")


def test_guessing_tokens_is_limited(secured: Secured) -> None:
    with secured.rest() as client:
        answers = [client.get(BASE, headers=bearer("a.b.c")).status_code for _ in range(BURST)]
    assert set(answers) == {401, 429}


def test_grpc_callers_are_limited_too(secured: Secured) -> None:
    headers = bearer(secured.issuer.token()) | own_address()
    codes, metadata = set(), {}
    with secured.channel(secured.client) as channel:
        for _ in range(BURST):
            try:
                call(channel, "/mentorstatus.v1.MentorStatusSync/ListSyncEvents", headers)
            except grpc.RpcError as error:
                codes.add(error.code())
                metadata = {item.key: item.value for item in error.trailing_metadata()}
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert str(metadata["retry-after"]) == "1"


def test_behind_a_trusted_proxy_each_client_has_a_limit(secured: Secured) -> None:
    """The proxy appends the address that it saw. What the client itself wrote in front of it changes nothing."""
    with secured.rest() as client:
        client.headers.update(bearer(secured.issuer.token()))
        assert httpx.codes.TOO_MANY_REQUESTS in statuses(client, (f"1.1.1.{n}, 172.16.0.1" for n in range(BURST)))
        assert set(statuses(client, (f"172.16.0.1, 172.17.0.{n}" for n in range(BURST)))) == {httpx.codes.OK}


def test_an_ipv6_customer_has_one_limit(secured: Secured) -> None:
    """A customer has a whole /64."""
    with secured.rest() as client:
        client.headers.update(bearer(secured.issuer.token()))
        assert httpx.codes.TOO_MANY_REQUESTS in statuses(client, (f"2001:db8::{n:x}" for n in range(1, BURST)))
        assert set(statuses(client, (f"2001:db8:0:{n:x}::1" for n in range(1, BURST)))) == {httpx.codes.OK}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_trusted_proxies_a_clients_own_header_changes_nothing(start_mirror: StartMirror, layout: str) -> None:
    host, port = start_mirror(layout, SecuritySettings(rate_limit=RATE_LIMIT)).gateway.addresses["rest"]
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
        answers = statuses(client, (f"10.1.1.{number}" for number in range(BURST)))
    assert set(answers) == {httpx.codes.NOT_FOUND, httpx.codes.TOO_MANY_REQUESTS}
