"""The error contract over REST: every answer that is not 2xx has the same shape. Each case is a row of a table."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.contract import BASE
from tests.rest.answers import assert_error

EVENTS = f"{BASE}/events"
EVENT = f"{EVENTS}/evt_00000000"
PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
MAX_BODY_BYTES = 16_384
MAX_ECHO = 64  # characters
PAUSE = '{"event_type": "PauseMentorEvent", "mentor_id": "mntr_1"'

INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 5, 8, 12


class Case(NamedTuple):
    """A request and its error. If `reason` is None, the error comes from the gateway, and its details are empty."""

    name: str
    method: str
    path: str
    body: str | bytes | None
    status: int
    code: int
    reason: str | None = None
    fields: tuple[str, ...] = ()  # the bad fields that the details list


def invalid(name: str, method: str, path: str, body: str | bytes | None, *fields: str) -> Case:
    """A request that the server refuses. Its error names the bad fields."""
    return Case(name, method, path, body, 400, INVALID_ARGUMENT, "INVALID_FIELD", fields)


def unreadable(name: str, method: str, path: str, body: str | bytes | None = None) -> Case:
    """A request that the gateway cannot convert into a call."""
    return Case(name, method, path, body, 400, INVALID_ARGUMENT)


def unknown(name: str, path: str, method: str = "GET") -> Case:
    return Case(name, method, path, None, 404, NOT_FOUND)


CASES = [
    invalid("empty body", "POST", EVENTS, None, "event_type", "mentor_id"),
    invalid("empty object", "POST", EVENTS, "{}", "event_type", "mentor_id"),
    invalid("missing mentor_id", "POST", EVENTS, '{"event_type": "PauseMentorEvent"}', "mentor_id"),
    invalid("missing event_type", "POST", EVENTS, '{"mentor_id": "mntr_1"}', "event_type"),
    invalid("unspecified event_type", "POST", EVENTS, '{"event_type": 0, "mentor_id": "mntr_1"}', "event_type"),
    invalid("unknown enum number", "POST", EVENTS, '{"event_type": 99, "mentor_id": "mntr_1"}', "event_type"),
    invalid(
        "malformed mentor_id", "POST", EVENTS, '{"event_type": "PauseMentorEvent", "mentor_id": "mntr_"}', "mentor_id"
    ),
    invalid("mentor_id too long", "GET", f"{BASE}/mntr_{'x' * 41}", None, "mentor_id"),
    invalid("reason too long", "POST", EVENTS, f'{PAUSE}, "reason": "{"x" * 501}"}}', "reason"),
    invalid("control character in reason", "POST", EVENTS, f'{PAUSE}, "reason": "a\\u0000b"}}', "reason"),
    invalid("malformed mentor_id in the path", "GET", f"{BASE}/nobody", None, "mentor_id"),
    invalid("mentor_id with an escaped slash", "GET", f"{BASE}/mntr_a%2Fb", None, "mentor_id"),
    invalid("mentor_id with a verb", "GET", f"{BASE}/mntr_1:pause", None, "mentor_id"),
    invalid("mentor_id with a broken escape", "GET", f"{BASE}/mntr_%ZZ", None, "mentor_id"),
    invalid("mentor_id with an escaped space", "GET", f"{BASE}/mntr_%20", None, "mentor_id"),
    invalid("mentor_id that is not UTF-8", "GET", f"{BASE}/mntr_%FF", None),
    invalid("sync_event_id that is not UTF-8", "DELETE", f"{EVENTS}/evt_%C3%28", None),
    invalid("filter that is not UTF-8", "GET", f"{BASE}?mentor_id=mntr_%FF", None),
    invalid("malformed filter", "GET", f"{BASE}?mentor_id=nobody", None, "mentor_id"),
    unreadable("query parameter of a submit with a body", "POST", f"{EVENTS}?reason=x", PAUSE + "}"),
    unreadable("query parameter of an update with a body", "PUT", f"{EVENT}?reason=x", '{"acknowledged": true}'),
    unreadable("known query parameter of a delete", "DELETE", f"{EVENT}?reason=x"),
    invalid("page zero", "GET", f"{BASE}?page=0", None, "page"),
    invalid("limit below zero", "GET", f"{BASE}?limit=-1", None, "limit"),
    invalid("all bad fields at once", "GET", f"{BASE}?page=0&limit=0&mentor_id=x", None, "page", "limit", "mentor_id"),
    invalid(
        "malformed sync_event_id in an update", "PUT", f"{EVENTS}/nothing", '{"acknowledged": true}', "sync_event_id"
    ),
    invalid("malformed sync_event_id in a delete", "DELETE", f"{EVENTS}/nothing", None, "sync_event_id"),
    invalid(
        "update of an event with the id events", "PUT", f"{EVENTS}/events", '{"acknowledged": true}', "sync_event_id"
    ),
    Case("unknown mentor", "GET", f"{BASE}/mntr_nobody", None, 404, NOT_FOUND, "MENTOR_NOT_FOUND"),
    Case("update of an unknown event", "PUT", EVENT, '{"acknowledged": true}', 404, NOT_FOUND, "EVENT_NOT_FOUND"),
    Case("delete of an unknown event", "DELETE", EVENT, None, 404, NOT_FOUND, "EVENT_NOT_FOUND"),
    unreadable("not JSON", "POST", EVENTS, "pause"),
    unreadable("unfinished JSON", "POST", EVENTS, '{"event_type": '),
    unreadable("text after the JSON", "POST", EVENTS, "{} {}"),
    unreadable("an array", "POST", EVENTS, "[]"),
    unreadable("a form", "POST", EVENTS, "event_type=PauseMentorEvent"),
    unreadable("a string that is not UTF-8", "POST", EVENTS, b'{"mentor_id": "mntr_\xff"}'),
    unreadable("JSON nested too deeply", "POST", EVENTS, '{"a":' * 200 + "1" + "}" * 200),
    unreadable("an object instead of a string", "POST", EVENTS, '{"mentor_id": {"id": 1}}'),
    unreadable("a word instead of a boolean", "PUT", EVENT, '{"acknowledged": "perhaps"}'),
    unreadable("an unknown enum name", "POST", EVENTS, '{"event_type": "SleepMentorEvent"}'),
    unreadable("a time without a zone", "POST", EVENTS, f'{PAUSE}, "client_timestamp": "2026-03-26T09:14:55"}}'),
    unreadable("a time in words", "POST", EVENTS, f'{PAUSE}, "client_timestamp": "yesterday"}}'),
    unreadable("a time as a number", "POST", EVENTS, f'{PAUSE}, "client_timestamp": 1774516495}}'),
    unreadable("a page that is not a number", "GET", f"{BASE}?page=first"),
    unreadable("a page that is not a whole number", "GET", f"{BASE}?page=1.5"),
    unreadable("a page beyond 32 bits", "GET", f"{BASE}?page=4294967296"),
    unreadable("an empty page", "GET", f"{BASE}?page="),
    unreadable("an unknown query parameter", "GET", f"{BASE}?status=paused"),
    unreadable("a repeated query parameter", "GET", f"{BASE}?page=1&page=2"),
    unreadable("a query parameter without a value", "GET", f"{BASE}?mentor_id"),
    unreadable("an unknown query parameter without a value", "GET", f"{BASE}?page=1&status&limit=1"),
    unreadable("a query parameter without a name", "GET", f"{BASE}?=1"),
    unreadable("a query parameter of the feed without a value", "GET", f"{BASE}/watch?changes_only&max_seconds=1"),
    unreadable("another mentor in the query of a snapshot", "GET", f"{BASE}/mntr_1?mentor_id=mntr_2"),
    unreadable("an unknown query parameter of a submit", "POST", f"{EVENTS}?dry_run=true", "{}"),
    unreadable("an unknown query parameter of a delete", "DELETE", f"{EVENT}?force=true"),
    unreadable(
        "an id in the body that differs from the path", "PUT", EVENT, '{"sync_event_id": "evt_1", "acknowledged": true}'
    ),
    unreadable("a NUL in the path", "GET", f"{BASE}/mntr_%00"),
    unknown("the root", "/"),
    unknown("the prefix once", "/api/v1/mentor-status-sync"),
    unknown("a trailing slash", f"{BASE}/"),
    unknown("a trailing slash after events", f"{EVENTS}/"),
    unknown("two slashes", f"{BASE}//mntr_1"),
    unknown("a path below a mentor", f"{BASE}/mntr_1/events"),
    unknown("a path below an event", f"{EVENT}/reason", "PUT"),
    unknown("the path in upper case", BASE.upper()),
    unknown("a path below /healthz", "/healthz/live"),
    unknown("a gRPC method's path with JSON", "/mentorstatus.v1.MentorStatusSync/SubmitEvent", "POST"),
    unknown("gRPC health with JSON", "/grpc.health.v1.Health/Check", "POST"),
    unknown("Envoy's admin", "/quitquitquit", "POST"),
    Case("body over the limit", "POST", EVENTS, " " * (MAX_BODY_BYTES + 1), 413, RESOURCE_EXHAUSTED),
    Case("body far over the limit", "PUT", EVENT, " " * 1_000_000, 413, RESOURCE_EXHAUSTED),
    Case("body over the limit of a list", "GET", BASE, " " * 20_000, 413, RESOURCE_EXHAUSTED),
    Case("body over the limit of a snapshot", "GET", f"{BASE}/mntr_1", " " * 20_000, 413, RESOURCE_EXHAUSTED),
    Case("body over the limit of a delete", "DELETE", EVENT, " " * 20_000, 413, RESOURCE_EXHAUSTED),
    Case("headers over the limit", "GET", f"{BASE}?mentor_id={'x' * 20_000}", None, 431, RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_error_has_its_status_code_reason_and_bad_fields(client: httpx.Client, case: Case) -> None:
    """All four are those of the table."""
    response = client.request(case.method, case.path, content=case.body)
    body = assert_error(response, case.status, case.code)
    if case.reason is None:
        assert body["details"] == []
        return
    assert error_info(body)["reason"] == case.reason
    violations = [detail for detail in body["details"] if "field_violations" in detail]
    assert [violation["field"] for detail in violations for violation in detail["field_violations"]] == [*case.fields]


ECHOES = {
    "an unknown enum name": ("POST", EVENTS, '{{"event_type": "{0}"}}'),
    "a word instead of a boolean": ("PUT", EVENT, '{{"acknowledged": "{0}"}}'),
    "a bare word": ("POST", EVENTS, '{{"reason": {0}}}'),
    "an object instead of a string": ("POST", EVENTS, '{{"reason": {{"{0}": 1}}}}'),
    "unfinished JSON": ("POST", EVENTS, '{{"reason": "{0}'),
    "text after the JSON": ("POST", EVENTS, '{{"reason": "{0}"}} {0}'),
    "another id than in the path": ("PUT", f"{EVENTS}/{{0}}", '{{"sync_event_id": "other {0}"}}'),
    "an unknown query parameter": ("GET", f"{BASE}?{{0}}=1", ""),
    "a page that is not a number": ("GET", f"{BASE}?page={{0}}", ""),
    "a malformed id": ("DELETE", f"{EVENTS}/{{0}}", ""),
    "an unknown path": ("GET", "/{0}", ""),
}


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f9d8"], ids=["one byte", "two bytes", "four bytes"])
@pytest.mark.parametrize(("method", "path", "body"), ECHOES.values(), ids=ECHOES)
def test_an_error_shows_little_of_the_input(
    client: httpx.Client, method: str, path: str, body: str, letter: str
) -> None:
    """The message has at most 64 characters of it and is valid JSON, in errors of the gateway and of the service."""
    text = letter * 1_000
    response = client.request(method, path.format(text), content=body.format(text).encode())
    assert response.status_code in (400, 404)
    assert response.json()["message"].count(letter) <= MAX_ECHO


def test_the_gateway_names_the_base_path_and_the_limit_of_a_body(client: httpx.Client) -> None:
    """The base path has its prefix twice, which a caller easily takes for a mistake."""
    assert client.get("/api/v1/mentor-status-sync").json()["message"] == f"no such path: calls are under {BASE}"
    assert client.post(EVENTS, content=" " * (MAX_BODY_BYTES + 1)).json()["message"] == "the body has more than 16 KiB"


EXPLAINED: dict[str, tuple[str, str, str | bytes]] = {
    'event_type: invalid value "': ("POST", EVENTS, '{"event_type": "pauseMentorEvent"}'),
    "client_timestamp: invalid value": ("POST", EVENTS, '{"client_timestamp": "2026-03-26T09:14:55"}'),
    "for type TYPE_STRING": ("POST", EVENTS, '{"mentor_id": 1}'),
    "TYPE_BOOL": ("PUT", EVENT, '{"acknowledged": 1}'),
    "TYPE_INT32": ("GET", f"{BASE}?page=4294967296", ""),
    "Root element must be a message.": ("POST", EVENTS, f"[{PAUSE}}}]"),
    "Unexpected": ("POST", EVENTS, "event_type=PauseMentorEvent"),
    "Expected": ("POST", EVENTS, "<event/>"),
    "Encountered non UTF-8": ("POST", EVENTS, gzip.compress(f"{PAUSE}}}".encode())),
    "Could not find field": ("GET", f"{BASE}?size=20", ""),
}


def test_the_docs_explain_the_messages_of_the_gateway(client: httpx.Client) -> None:
    """Those of the table in docs/contract.md. Envoy words them, and may word them anew in a later version."""
    table = PAGE.read_text("utf-8").partition("| Message of a 400 |")[2].partition("\n\n")[0]
    shown = [text for row in table.splitlines()[2:] for text in re.findall("`([^`]+)`", row.split("|")[1])]
    assert shown == [*EXPLAINED]
    for text, (method, path, body) in EXPLAINED.items():
        answer = client.request(method, path, content=body)
        assert answer.status_code == 400
        assert text in answer.json()["message"]


ALLOWED = {
    BASE: "GET",
    f"{BASE}/mntr_1": "GET",
    EVENTS: "POST",
    EVENT: "PUT, DELETE",
    "/healthz": "GET",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, allowed in ALLOWED.items() for method in METHODS if method not in allowed.split(", ")],
)
def test_a_wrong_method_is_answered_with_405_and_the_allowed_methods(
    client: httpx.Client, path: str, method: str
) -> None:
    """Every path of the contract has `Allow`. `…/events` is never read as a mentor id."""
    response = client.request(method, path)
    assert response.headers["allow"] == ALLOWED[path]
    if method == "HEAD":
        assert response.status_code == 405
        assert response.headers["x-request-id"]
        assert response.content == b""
    else:
        assert_error(response, 405, UNIMPLEMENTED)


def test_a_body_of_exactly_the_limit_is_accepted(client: httpx.Client) -> None:
    """The limit is 16 KiB, and whitespace counts."""
    body = f"{PAUSE}}}".ljust(MAX_BODY_BYTES)
    assert client.post(EVENTS, content=body).status_code == 200


def test_the_limit_also_applies_to_a_chunked_body(client: httpx.Client) -> None:
    """A body of unknown length is refused once it exceeds the limit."""
    response = client.post(EVENTS, content=(b" " * 1024 for _ in range(17)))
    assert_error(response, 413, RESOURCE_EXHAUSTED)


def test_a_key_used_for_another_payload_is_refused(client: httpx.Client) -> None:
    """The header `idempotency-key` reaches the server. Nothing is written for the second payload."""
    key = {"idempotency-key": "k1"}
    first = client.post(EVENTS, content='{"event_type": "PauseMentorEvent", "mentor_id": "mntr_key"}', headers=key)
    other = client.post(EVENTS, content='{"event_type": "ResumeMentorEvent", "mentor_id": "mntr_key"}', headers=key)
    again = client.post(EVENTS, content='{"event_type": "PauseMentorEvent", "mentor_id": "mntr_key"}', headers=key)
    body = assert_error(other, 400, INVALID_ARGUMENT)
    assert error_info(body)["reason"] == "IDEMPOTENCY_KEY_REUSED"
    assert again.content == first.content
    assert client.get(f"{BASE}?mentor_id=mntr_key").json()["pagination"]["total"] == 1


@pytest.mark.parametrize(
    "key", ["", "x" * 65, "two words", "é"], ids=["empty", "too long", "with a space", "not ASCII"]
)
def test_a_malformed_key_is_refused(client: httpx.Client, key: str) -> None:
    """A key is 1 to 64 visible ASCII characters."""
    response = client.post(EVENTS, content=f"{PAUSE}}}", headers={b"idempotency-key": key.encode()})
    assert error_info(assert_error(response, 400, INVALID_ARGUMENT))["reason"] == "INVALID_FIELD"


def test_an_update_without_fields_is_refused(client: httpx.Client) -> None:
    """An update must contain `acknowledged` or `reason`, even for an event that exists."""
    event = client.post(EVENTS, json={"event_type": "PauseMentorEvent", "mentor_id": "mntr_update"}).json()
    path = f"{EVENTS}/{event['sync_event_id']}"
    for body in ("{}", None, '{"acknowledged": null}'):
        refused = assert_error(client.put(path, content=body), 400, INVALID_ARGUMENT)
        assert error_info(refused)["reason"] == "INVALID_FIELD"


def test_an_update_of_a_deleted_event_is_answered_with_404(client: httpx.Client) -> None:
    """A repeated delete gives the first answer again."""
    event = client.post(EVENTS, json={"event_type": "PauseMentorEvent", "mentor_id": "mntr_deleted"}).json()
    path = f"{EVENTS}/{event['sync_event_id']}"
    assert client.delete(path).content == client.delete(path).content
    refused = assert_error(client.put(path, json={"reason": "back"}), 404, NOT_FOUND)
    assert error_info(refused)["reason"] == "EVENT_NOT_FOUND"


def error_info(body: Mapping[str, Any]) -> Mapping[str, Any]:
    (info,) = [detail for detail in body["details"] if detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
    assert info["domain"] == "mentorstatus"
    return info  # type: ignore[no-any-return]


def test_a_content_type_that_is_almost_grpc_gets_the_error_shape(client: httpx.Client) -> None:
    """Envoy takes such a caller for one of REST, and so must the shape of its errors."""
    response = client.get("/unknown", headers={"content-type": "application/grpc,key"})
    assert_error(response, 404, NOT_FOUND)
