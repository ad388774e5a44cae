"""What a token reaches over REST, in both layouts.

The tests play the part of Envoy's check of tokens: a filter sets the headers that the check sets.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx
import pytest
from mentorsync.rpc.principal import ISSUER_HEADER, MENTOR_ID_HEADER, SCOPE_HEADER
from mentorsync_gateway.config import Config, connection_manager

from tests.contract import BASE
from tests.databases import Databases
from tests.rest.answers import assert_error
from tests.rest.conftest import Run, Service, embedded_gateway, fresh_file, separate_gateway, settings_for
from tests.rest.test_errors import error_info

EVENTS = f"{BASE}/events"
ISSUER = "https://issuer.example"
UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND = 16, 7, 5
MINE, OTHERS = "mntr_mine", "mntr_others"
HEADERS = {ISSUER_HEADER: "x-claim-iss", MENTOR_ID_HEADER: "x-claim-mentor-id", SCOPE_HEADER: "x-claim-scope"}

Call = Callable[..., httpx.Response]


class Callers(NamedTuple):
    """One client for each kind of token."""

    mine: httpx.Client
    administrator: httpx.Client
    nobody: httpx.Client
    invalid: httpx.Client
    without: httpx.Client


def with_claims(config: Config) -> Config:
    """The configuration with a filter that turns the headers of a test into those of a checked token."""
    mutations = [
        {"append": {"header": {"key": name, "value": f"%REQ({claim})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for name, claim in HEADERS.items()
    ]
    claims = {
        "name": "claims",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": mutations},
        },
    }
    connection_manager(config)["http_filters"].insert(0, claims)
    return config


@pytest.fixture(scope="module", params=["separate-sqlite", "embedded-sqlite", "separate-postgres"])
def secured(request: pytest.FixtureRequest, run: Run, databases: Databases) -> Iterator[Service]:
    """A service that requires tokens."""
    mode, _, engine = request.param.partition("-")
    with ExitStack() as stack:
        url = stack.enter_context(databases.fresh() if engine == "postgres" else fresh_file())
        settings = settings_for(url) | {"MENTORSYNC_JWT_ISSUER": ISSUER}
        start = separate_gateway if mode == "separate" else embedded_gateway
        yield Service(mode, stack.enter_context(start(run, settings, change=with_claims)).addresses["rest"])


@pytest.fixture(scope="module")
def callers(secured: Service) -> Iterator[Callers]:
    def client(**claims: str) -> httpx.Client:
        headers = {f"x-claim-{name.replace('_', '-')}": value for name, value in claims.items()}
        return stack.enter_context(httpx.Client(base_url=secured.url, headers=headers, timeout=20))

    with ExitStack() as stack:
        yield Callers(
            mine=client(iss=ISSUER, mentor_id=MINE),
            administrator=client(iss=ISSUER, scope="openid mentorsync.admin"),
            nobody=client(iss=ISSUER),
            invalid=client(iss=ISSUER, mentor_id="mntr_*"),
            without=client(),
        )


def submit(client: httpx.Client, mentor_id: str, **headers: str) -> httpx.Response:
    body = {"event_type": "PauseMentorEvent", "mentor_id": mentor_id, "reason": "a break"}
    return client.post(EVENTS, json=body, headers=headers)


@pytest.fixture
def mine(callers: Callers) -> Any:
    return submit(callers.mine, MINE).json()


@pytest.fixture
def others(callers: Callers) -> Any:
    return submit(callers.administrator, OTHERS).json()


def ids(answer: httpx.Response) -> set[str]:
    return {event["mentor_id"] for event in answer.json()["data"]}


@pytest.mark.usefixtures("mine", "others")
def test_a_list_is_confined(callers: Callers) -> None:
    """A list without a filter has the mentor's own events and total. An administrator's has all."""
    for path in (BASE, f"{BASE}?mentor_id={MINE}"):
        own = callers.mine.get(path, params={"limit": 100})
        assert ids(own) == {MINE}
    everything = callers.administrator.get(BASE, params={"limit": 100}).json()
    mine = callers.mine.get(BASE).json()["pagination"]["total"]
    others = callers.administrator.get(f"{BASE}?mentor_id={OTHERS}").json()["pagination"]["total"]
    assert everything["pagination"]["total"] == mine + others
    assert ids(callers.administrator.get(BASE, params={"limit": 100})) == {MINE, OTHERS}


def test_a_mentor_reaches_its_own(callers: Callers, mine: Any) -> None:
    """All calls answer as they do without tokens."""
    path = f"{EVENTS}/{mine['sync_event_id']}"
    assert callers.mine.get(f"{BASE}/{MINE}").json()["mentor_id"] == MINE
    assert callers.mine.put(path, json={"acknowledged": True}).json()["acknowledged"]
    assert callers.mine.delete(path).json()["deleted"]


def test_an_administrator_reaches_all(callers: Callers, mine: Any) -> None:
    """Every call, for every mentor."""
    path = f"{EVENTS}/{mine['sync_event_id']}"
    assert callers.administrator.get(f"{BASE}/{MINE}").status_code == 200
    assert callers.administrator.put(path, json={"acknowledged": True}).status_code == 200
    assert callers.administrator.delete(path).status_code == 200


@pytest.mark.usefixtures("others")
def test_another_mentor_is_refused(callers: Callers) -> None:
    """403, for mentors with events and without, and nothing is written."""
    total = callers.administrator.get(BASE).json()["pagination"]["total"]
    for mentor_id in (OTHERS, "mntr_unknown"):
        for refused in (
            callers.mine.get(f"{BASE}?mentor_id={mentor_id}"),
            callers.mine.get(f"{BASE}/{mentor_id}"),
            submit(callers.mine, mentor_id),
        ):
            assert_not_yours(refused)
    assert callers.administrator.get(BASE).json()["pagination"]["total"] == total
    assert callers.administrator.get(f"{BASE}/mntr_unknown").status_code == 404


def test_a_key_shows_nothing_of_another_mentor(callers: Callers) -> None:
    """A submit with a key that another mentor used is that mentor's own affair."""
    assert submit(callers.administrator, OTHERS, **{"idempotency-key": "k"}).status_code == 200
    assert_not_yours(submit(callers.mine, OTHERS, **{"idempotency-key": "k"}))
    assert submit(callers.mine, MINE, **{"idempotency-key": "k"}).json()["mentor_id"] == MINE


@pytest.mark.parametrize("is_deleted", [False, True])
def test_another_mentors_event_does_not_exist(callers: Callers, others: Any, *, is_deleted: bool) -> None:
    """The answer is that for an unknown event, byte for byte, and the event stays as it was."""
    event_id = others["sync_event_id"]
    if is_deleted:
        callers.administrator.delete(f"{EVENTS}/{event_id}")
    before = callers.administrator.get(f"{BASE}/{OTHERS}").content
    for change in (
        lambda path: callers.mine.put(path, json={"acknowledged": True, "reason": "x"}),
        lambda path: callers.mine.put(path, json={"acknowledged": False}),
        callers.mine.delete,
    ):
        refused, unknown = change(f"{EVENTS}/{event_id}"), change(f"{EVENTS}/evt_00000000")
        assert error_info(assert_error(unknown, 404, NOT_FOUND))["reason"] == "EVENT_NOT_FOUND"
        assert refused.status_code == unknown.status_code
        assert refused.content == unknown.content.replace(b"evt_00000000", event_id.encode())
        assert {*refused.headers} == {*unknown.headers}
    assert callers.administrator.get(f"{BASE}/{OTHERS}").content == before


def every_call(client: httpx.Client) -> list[httpx.Response]:
    return [
        client.get(BASE),
        client.get(f"{BASE}/{MINE}"),
        submit(client, MINE),
        client.put(f"{EVENTS}/evt_00000000", json={"acknowledged": True}),
        client.delete(f"{EVENTS}/evt_00000000"),
    ]


@pytest.mark.parametrize("caller", ["nobody", "invalid"])
def test_some_tokens_reach_nothing(callers: Callers, caller: str) -> None:
    """A token without mentor and scope, and one whose claim is no mentor id."""
    for refused in every_call(getattr(callers, caller)):
        assert_not_yours(refused)


def test_a_call_without_a_token_is_refused(callers: Callers) -> None:
    """By the service itself, even if a gateway let it pass. The answer asks for a token."""
    for refused in every_call(callers.without):
        body = assert_error(refused, 401, UNAUTHENTICATED)
        assert error_info(body)["reason"] == "TOKEN_REQUIRED"
        assert refused.headers["www-authenticate"] == "Bearer"


def assert_not_yours(refused: httpx.Response) -> None:
    assert error_info(assert_error(refused, 403, PERMISSION_DENIED))["reason"] == "NOT_YOUR_MENTOR"
