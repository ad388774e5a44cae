"""The contract's five examples, byte for byte, except for ids and times: keys, their order, types, values, spacing."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.contract import (
    BASE,
    DELETE_EXAMPLE,
    LIST_EXAMPLE,
    SNAPSHOT_EXAMPLE,
    SUBMIT_EXAMPLE,
    SUBMIT_EXAMPLE_REQUEST,
    UPDATE_EXAMPLE,
    UPDATE_EXAMPLE_REQUEST,
)

MENTOR = "mntr_01HX4V2K8P"
PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
JSON_BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def no_pending_events(client: httpx.Client) -> None:
    """The tests share a service. Each begins with an empty list, whatever the others left."""
    while pending := client.get(f"{BASE}?limit=100").json()["data"]:
        for event in pending:
            client.put(f"{BASE}/events/{event['sync_event_id']}", json={"acknowledged": True}).raise_for_status()


def test_the_five_examples_come_back_as_the_contract_shows_them(client: httpx.Client) -> None:
    """Each example's request gets the example's response."""
    submitted = client.post(f"{BASE}/events", content=SUBMIT_EXAMPLE_REQUEST)
    assert_example(submitted, SUBMIT_EXAMPLE)
    event = f"{BASE}/events/{submitted.json()['sync_event_id']}"

    # The example's list shows one of its three events.
    assert_example(client.get(BASE), LIST_EXAMPLE.replace('"total": 3', '"total": 1'))

    assert_example(client.put(event, content=UPDATE_EXAMPLE_REQUEST), UPDATE_EXAMPLE)
    assert_example(client.delete(event), DELETE_EXAMPLE)

    resumed = client.post(f"{BASE}/events", json={"event_type": "ResumeMentorEvent", "mentor_id": MENTOR}).json()
    client.put(f"{BASE}/events/{resumed['sync_event_id']}", json={"acknowledged": True})
    assert_example(client.get(f"{BASE}/{MENTOR}"), SNAPSHOT_EXAMPLE)


def test_the_examples_of_the_docs_are_what_the_service_answers(client: httpx.Client) -> None:
    """Those of docs/contract.md, in the page's order. The mentor is another one than in the tests above."""
    page = PAGE.read_text("utf-8").replace(MENTOR, "mntr_page")
    submit, submitted, listed, update, updated, deleted, snapshot, error = JSON_BLOCK.findall(page)
    answer = client.post(f"{BASE}/events", content=submit)
    assert_example(answer, submitted)
    event = f"{BASE}/events/{answer.json()['sync_event_id']}"
    assert_example(client.get(BASE), listed)
    assert_example(client.put(event, content=update), updated)
    assert_example(client.delete(event), deleted)
    assert_example(client.get(f"{BASE}/mntr_page"), snapshot)
    assert client.get(f"{BASE}/mntr_nobody").json() == json.loads(error)


def test_the_snapshot_of_an_inactive_mentor(client: httpx.Client) -> None:
    """The exact bytes: `inactive`, not eligible, and no pending events once the event is acknowledged."""
    submit = {"event_type": "DeactivateMentorEvent", "mentor_id": "mntr_inactive"}
    event = client.post(f"{BASE}/events", json=submit).json()
    client.put(f"{BASE}/events/{event['sync_event_id']}", json={"acknowledged": True})
    assert masked(client.get(f"{BASE}/mntr_inactive").content) == (
        b'{"mentor_id":"mntr_inactive","status":"inactive","is_eligible_for_assignment":false,'
        b'"last_updated":"T","pending_events":[]}'
    )


def test_a_snapshot_shows_pending_events_in_the_shape_of_the_list(client: httpx.Client) -> None:
    """The items of `pending_events` are the same bytes as the items of `data`."""
    client.post(f"{BASE}/events", json={"event_type": "PauseMentorEvent", "mentor_id": "mntr_pending"})
    snapshot = client.get(f"{BASE}/mntr_pending").content
    items = re.search(rb'"data":(\[.*\]),"pagination"', client.get(f"{BASE}?mentor_id=mntr_pending").content)
    assert items
    assert snapshot.endswith(b'"pending_events":' + items[1] + b"}")


def test_empty_values_are_printed(client: httpx.Client) -> None:
    """No key is left out because its value is `[]`, `0`, `false` or `""`."""
    empty = client.get(f"{BASE}?mentor_id=mntr_nobody")
    assert empty.content == b'{"data":[],"pagination":{"page":1,"limit":20,"total":0}}'
    event = client.post(f"{BASE}/events", json={"event_type": "PauseMentorEvent", "mentor_id": "mntr_empty"}).json()
    updated = client.put(f"{BASE}/events/{event['sync_event_id']}", json={"acknowledged": False})
    assert masked(updated.content) == b'{"sync_event_id":"evt_","acknowledged":false,"reason":"","updated_at":"T"}'
    stale = {"event_type": "PauseMentorEvent", "mentor_id": "mntr_empty", "client_timestamp": "1970-01-01T00:00:00Z"}
    assert b'"accepted":false' in client.post(f"{BASE}/events", json=stale).content


def test_the_largest_page_is_complete(client: httpx.Client) -> None:
    """100 events with ids of the largest length fit into the gateway's buffers."""
    mentor = "mntr_" + "x" * 40
    for second in range(101):
        stamp = f"2025-01-01T00:{second // 60:02}:{second % 60:02}Z"
        body = {"event_type": "PauseMentorEvent", "mentor_id": mentor, "client_timestamp": stamp}
        assert client.post(f"{BASE}/events", json=body).json()["accepted"]
    page = client.get(f"{BASE}?limit=1000&mentor_id={mentor}").json()
    assert len(page["data"]) == 100
    assert page["pagination"] == {"page": 1, "limit": 100, "total": 101}
    assert len(client.get(f"{BASE}/{mentor}").json()["pending_events"]) == 100


def test_text_comes_back_as_it_was_sent(client: httpx.Client) -> None:
    """Quotes, line feeds, tabs and characters beyond the BMP survive JSON, protobuf and the database."""
    reason = 'Zoë said "später"\n\t\\ 🙂 \u2028 </script>'
    event = client.post(f"{BASE}/events", json={"event_type": "PauseMentorEvent", "mentor_id": "mntr_text"}).json()
    updated = client.put(f"{BASE}/events/{event['sync_event_id']}", json={"reason": reason})
    assert updated.json()["reason"] == reason


def assert_example(response: httpx.Response, example: str) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert not [name for name in response.headers if name.startswith("grpc-")]
    assert masked(response.content) == masked(json.dumps(json.loads(example), separators=(",", ":")).encode())


def masked(body: bytes) -> bytes:
    """A body whose event ids and times are replaced, if they have the contract's form."""
    body = re.sub(rb'"evt_[0-9A-Z]{8}"', b'"evt_"', body)
    return re.sub(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"', b'"T"', body)
