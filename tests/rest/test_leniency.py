"""Input that the transcoder accepts beyond the contract. docs/contract.md documents it; change both together."""

import httpx
import pytest

from tests.contract import BASE

EVENTS = f"{BASE}/events"
PAUSE = {"event_type": "PauseMentorEvent"}

SUBMITS = {
    "an unknown field is ignored": '"event_type": "PauseMentorEvent", "mood": "tired"',
    "an unknown object is ignored": '"event_type": "PauseMentorEvent", "device": {"os": ["x", 1, null]}',
    "the last of two types counts": '"event_type": "ResumeMentorEvent", "event_type": "PauseMentorEvent"',
    "a comma after the last field": '"event_type": "PauseMentorEvent",',
    "a name without quotes": 'event_type: "PauseMentorEvent"',
    "text in single quotes": "'event_type': 'PauseMentorEvent'",
    "a line feed in a text": '"event_type": "PauseMentorEvent", "reason": "a\nb"',
    "a time as an object": '"event_type": "PauseMentorEvent", "client_timestamp": {"seconds": 1774516495, "nanos": 1}',
    "an empty object is the first second of 1970": '"event_type": "PauseMentorEvent", "client_timestamp": {}',
    "null counts as absent": '"event_type": "PauseMentorEvent", "reason": null, "client_timestamp": null',
    "an enum number": '"event_type": 1',
    "camelCase names": '"eventType": "PauseMentorEvent", "clientTimestamp": "2026-03-26T09:14:55Z"',
    "a UTC offset": '"event_type": "PauseMentorEvent", "client_timestamp": "2026-03-26T14:44:55+05:30"',
    "nine fraction digits": '"event_type": "PauseMentorEvent", "client_timestamp": "2026-03-26T09:14:55.123456789Z"',
    "the year 1970": '"event_type": "PauseMentorEvent", "client_timestamp": "1970-01-01T00:00:00Z"',
    "the year 1": '"event_type": "PauseMentorEvent", "client_timestamp": "0001-01-01T00:00:00Z"',
    "the year 9999": '"event_type": "PauseMentorEvent", "client_timestamp": "9999-12-31T23:59:59Z"',
    "500 characters": f'"event_type": "PauseMentorEvent", "reason": "{"é" * 500}"',
    "500 characters outside the BMP": f'"event_type": "PauseMentorEvent", "reason": "{"🙂" * 500}"',
    "line feed and tab": '"event_type": "PauseMentorEvent", "reason": "a\\n\\tb"',
}


@pytest.mark.parametrize("name", SUBMITS)
def test_a_lenient_submit_is_accepted(client: httpx.Client, name: str) -> None:
    """Each one is the first event of its mentor."""
    mentor = f"mntr_{list(SUBMITS).index(name)}"
    response = client.post(EVENTS, content=f'{{"mentor_id": "{mentor}", {SUBMITS[name]}}}')
    assert response.status_code == 200, response.text
    assert response.json()["event_type"] == "PauseMentorEvent"
    assert response.json()["accepted"] is True


@pytest.mark.parametrize("fields", ['"reason": "a", "reason": "b"', '"acknowledged": true, "acknowledged": true'])
def test_a_reason_or_an_acknowledgement_may_not_come_twice(client: httpx.Client, fields: str) -> None:
    """Unlike the other fields, they are optional in the protobuf message, and so the transcoder notices."""
    event = client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_twice"}).json()["sync_event_id"]
    assert client.put(f"{EVENTS}/{event}", content=f"{{{fields}}}").status_code == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", None])
def test_the_content_type_is_ignored(client: httpx.Client, content_type: str | None) -> None:
    """The body is read as JSON with any content type, and without one."""
    headers = {} if content_type is None else {"content-type": content_type}
    response = client.post(EVENTS, content='{"mentor_id":"mntr_type","event_type":"PauseMentorEvent"}', headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("text", ['"true"', "true"])
def test_a_boolean_may_be_a_string(client: httpx.Client, text: str) -> None:
    """`"true"` is true."""
    event = client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_boolean"}).json()["sync_event_id"]
    updated = client.put(f"{EVENTS}/{event}", content=f'{{"acknowledged": {text}}}')
    assert updated.json()["acknowledged"] is True


def test_the_body_of_an_update_may_repeat_the_id(client: httpx.Client) -> None:
    """The id in the body must be the same as in the path."""
    event = client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_again"}).json()["sync_event_id"]
    updated = client.put(f"{EVENTS}/{event}", json={"sync_event_id": event, "acknowledged": True})
    assert updated.json()["acknowledged"] is True


def test_a_query_may_have_escapes_and_camel_case_names(client: httpx.Client) -> None:
    """Escapes in names and values are decoded. `mentorId` means `mentor_id`."""
    client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_query"})
    for query in ("mentor%5Fid=mntr%5Fquery", "mentorId=mntr_query", "mentor_id=mntr_query&limit=20&page=1"):
        assert client.get(f"{BASE}?{query}").json()["pagination"]["total"] == 1


def test_a_query_may_be_empty(client: httpx.Client) -> None:
    """Some HTTP libraries end a URL with `?` if a program gives them no query parameters. Also on paths without any."""
    event = client.post(f"{EVENTS}?", json=PAUSE | {"mentor_id": "mntr_empty"}).json()["sync_event_id"]
    assert client.get(f"{BASE}/mntr_empty?").json()["mentor_id"] == "mntr_empty"
    assert client.get(f"{BASE}?&mentor_id=mntr_empty&").json()["pagination"]["total"] == 1
    assert client.put(f"{EVENTS}/{event}?", json={"acknowledged": True}).json()["acknowledged"] is True
    assert client.delete(f"{EVENTS}/{event}?").json()["deleted"] is True


def test_escapes_in_an_id_are_decoded(client: httpx.Client) -> None:
    """`mntr%5Fescaped` means `mntr_escaped`."""
    client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_escaped"})
    assert client.get(f"{BASE}/mntr%5Fescaped").json()["mentor_id"] == "mntr_escaped"


def test_dots_in_a_path_are_resolved(client: httpx.Client) -> None:
    """`…/events/../mntr_1` means `…/mntr_1`."""
    client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_dots"})
    request = client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=f"{EVENTS}/%2e%2e/mntr_dots".encode())
    assert client.send(request).json()["mentor_id"] == "mntr_dots"


def test_the_body_of_a_get_is_read_like_query_parameters(client: httpx.Client) -> None:
    """A field in the body that contradicts the path is refused."""
    client.post(EVENTS, json=PAUSE | {"mentor_id": "mntr_body"})
    page = client.request("GET", f"{BASE}?mentor_id=mntr_body", json={"limit": 5}).json()
    assert page["pagination"] == {"page": 1, "limit": 5, "total": 1}
    refused = client.request("GET", f"{BASE}/mntr_body", json={"mentor_id": "mntr_other"})
    assert refused.status_code == 400
    assert refused.json()["code"] == 3
