"""Calls that check a variant before it is measured: every variant must do the same work."""

import json
import re
from http.client import HTTPConnection
from typing import Any

import grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.rpc.asgi import PATH_PREFIX

from tests.benchmarks.filling import mentor_id
from tests.benchmarks.load.h2load import CALLS
from tests.contract import BASE

TIMEOUT_SECONDS = 30
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
EVENT_ID = re.compile(r"evt_[0-9A-Z]{8}")
MENTOR_ID = "mntr_conversation"
SUBMIT = {
    "event_type": "PauseMentorEvent",
    "mentor_id": MENTOR_ID,
    "reason": "Taking a short break",
    "client_timestamp": "2026-03-26T09:14:55Z",
}
STALE = SUBMIT | {"event_type": "ActivateMentorEvent", "client_timestamp": "2020-01-01T00:00:00Z"}

Answer = tuple[int, Any]


def call_every_endpoint(address: str) -> list[Answer]:
    """Calls every endpoint over REST, and leaves no event pending. Returns the status and body of each answer, with ids
    and times replaced by placeholders.
    """
    connection = HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    answers: list[Answer] = []

    def call(method: str, path: str, body: object = None) -> Any:
        payload = None if body is None else json.dumps(body)
        connection.request(method, BASE + path, payload, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        answers.append((response.status, _comparable_body(answer, response.status)))
        return answer

    submitted = call("POST", "/events", SUBMIT)
    repeated = call("POST", "/events", SUBMIT)
    assert submitted["sync_event_id"] == repeated["sync_event_id"], "a repeated submit created a new event"
    event_path = f"/events/{submitted['sync_event_id']}"
    call("POST", "/events", STALE)
    call("GET", f"/{MENTOR_ID}")
    call("GET", "?page=1&limit=2")
    call("GET", f"?mentor_id={MENTOR_ID}")
    call("GET", "?page=0")
    call("GET", "/mntr_unknown")
    call("POST", "/events", {"event_type": "NapMentorEvent", "mentor_id": MENTOR_ID})
    call("PUT", event_path, {"acknowledged": True, "reason": "Seen"})
    call("DELETE", event_path)
    call("DELETE", event_path)
    call("PUT", event_path, {"acknowledged": False})
    call("GET", f"/{MENTOR_ID}")
    connection.close()
    return answers


def require_snapshot(address: str) -> None:
    """Makes one gRPC call and checks its answer, because h2load cannot distinguish an answer from a gRPC error."""
    method, make_payload = CALLS["snapshot"]
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH_PREFIX + method)
        answer = call(make_payload(mentor_id(0)), timeout=TIMEOUT_SECONDS)
    snapshot = pb.GetMentorStatusResponse.FromString(answer)
    assert snapshot.mentor_id == mentor_id(0), snapshot
    assert len(snapshot.pending_events) == 1, snapshot


def _comparable_body(answer: Any, status: int) -> Any:
    # Variants may differ in an error's message and in the order of its keys.
    return answer["code"] if status >= 400 else _with_placeholders(answer)


def _with_placeholders(value: Any) -> Any:
    """Replaces ids and times by placeholders, and objects by lists of pairs, so that the order of keys is compared."""
    match value:
        case dict():
            return [(key, _with_placeholders(item)) for key, item in value.items()]
        case list():
            return [_with_placeholders(item) for item in value]
        case str() if TIME.fullmatch(value):
            return "a time"
        case str() if EVENT_ID.fullmatch(value):
            return "an event id"
    return value
