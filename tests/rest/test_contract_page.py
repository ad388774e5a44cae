"""docs/contract.md: its examples, in the page's order, are what the service answers. Ids and times may differ."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
from mentorstatus.v1 import error_reason_pb2

from tests.contract import BASE

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
EVENT_ID = re.compile(r"evt_[0-9A-Z]{8}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_the_service_answers_as_the_page_shows(client: httpx.Client) -> None:
    """The page's examples follow on from one another, on an empty database."""
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    submit, submitted, listed, update, updated, deleted, snapshot, error = blocks
    answer = client.post(f"{BASE}/events", content=submit)
    assert shape(answer.text) == shape(submitted)
    event = f"{BASE}/events/{answer.json()['sync_event_id']}"
    assert shape(client.get(BASE).text) == shape(listed)
    assert shape(client.put(event, content=update).text) == shape(updated)
    assert shape(client.delete(event).text) == shape(deleted)
    assert shape(client.get(f"{BASE}/mntr_01HX4V2K8P").text) == shape(snapshot)
    assert client.get(f"{BASE}/mntr_nobody").json() == json.loads(error)


def shape(text: str) -> list[Any]:
    """The keys in their order with their values; ids and times are replaced."""
    items: list[Any] = json.loads(TIME.sub("T", EVENT_ID.sub("evt_", text)), object_pairs_hook=list)
    return items


def test_the_page_names_every_reason() -> None:
    """A new reason needs a row."""
    text = PAGE.read_text("utf-8")
    assert [reason for reason in error_reason_pb2.ErrorReason.keys()[1:] if f"`{reason}`" not in text] == []
