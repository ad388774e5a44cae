"""The headers about the caller: only Envoy sets them, and no caller can, on any path to the service."""

from collections.abc import Callable

import pytest
from mentorsync_gateway.security.values import Jwt, SecuritySettings

from tests.contract import BASE
from tests.edge.conftest import LAYOUTS, Mirror, StartMirror
from tests.edge.tokens import AUDIENCE, ISSUER, Issuer, bearer

LIST = "/mentorstatus.v1.MentorStatusSync/ListSyncEvents"
FORGED = {
    "x-mentorsync-issuer": "https://forged.example",
    "x-mentorsync-mentor-id": "mntr_forged",
    "x-mentorsync-scope": "mentorsync.admin",
    "x-mentorsync-anything": "forged",
}


@pytest.fixture(scope="module", params=LAYOUTS)
def open_mirror(request: pytest.FixtureRequest, start_mirror: StartMirror) -> Mirror:
    return start_mirror(request.param, SecuritySettings())


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module", params=LAYOUTS)
def mirror(
    request: pytest.FixtureRequest,
    start_mirror: StartMirror,
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mirror:
    """With JWT on."""
    jwks = tmp_path_factory.mktemp("issuer") / "keys.json"
    issuer.publish(jwks)
    return start_mirror(request.param, SecuritySettings(jwt=Jwt(ISSUER, AUDIENCE, str(jwks))))


@pytest.mark.parametrize("names", [str.lower, str.title, str.upper])
def test_forged_headers_are_removed_without_jwt(open_mirror: Mirror, names: Callable[[str], str]) -> None:
    """The service would take them for a checked token's claims."""
    forged = {names(name): value for name, value in FORGED.items()}
    for path in (BASE, f"{BASE}/mntr_1"):
        assert open_mirror.over_rest(path, forged) == []
    assert open_mirror.over_grpc(LIST, FORGED) == []


def test_forged_headers_are_replaced_with_jwt(mirror: Mirror, issuer: Issuer) -> None:
    token = bearer(issuer.token(scope="profile events"))
    expected = [
        ["x-mentorsync-issuer", ISSUER],
        ["x-mentorsync-mentor-id", "mntr_1"],
        ["x-mentorsync-scope", "profile events"],
    ]
    assert mirror.over_rest(BASE, FORGED | token) == expected
    assert mirror.over_grpc(LIST, FORGED | token) == expected


def test_an_absent_claim_gives_no_header(mirror: Mirror, issuer: Issuer) -> None:
    """A forged header does not take its place. The token itself does not reach the service."""
    token = bearer(issuer.token(mentor_id=None))
    expected = [["x-mentorsync-issuer", ISSUER]]
    assert mirror.over_rest(BASE, FORGED | token) == expected
    assert mirror.over_grpc(LIST, FORGED | token) == expected


@pytest.mark.parametrize("scope", [["mentorsync.admin"], {"mentorsync.admin": True}, True])
def test_a_scope_that_is_no_string_is_no_scope(mirror: Mirror, issuer: Issuer, scope: object) -> None:
    """The service must not read it as the scope that reaches everything."""
    headers = dict(mirror.over_rest(BASE, bearer(issuer.token(scope=scope))))
    assert "mentorsync.admin" not in headers.get("x-mentorsync-scope", "")


@pytest.mark.parametrize("value", ["mntr_1\r\nx-mentorsync-scope: mentorsync.admin", "mntr_1\nx", ""])
def test_a_claim_cannot_smuggle_a_header(mirror: Mirror, issuer: Issuer, value: str) -> None:
    """The header is left out, or the call fails."""
    assert "x-mentorsync-scope" not in mirror.message(BASE, bearer(issuer.token(mentor_id=value)))
