"""The live feed with tokens, through the real Envoy in both layouts. A mentor's token confines it as it does lists."""

import json
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE
from tests.edge.conftest import Secured, own_address
from tests.edge.tokens import bearer
from tests.rest.answers import assert_error

PERMISSION_DENIED = 7
MINE, OTHERS = "mntr_1", "mntr_2"  # a token is for mntr_1 if nothing else is said
ADMINISTRATOR = {"mentor_id": None, "scope": "mentorsync.admin"}
SECOND = {"max_seconds": 1}


class Event(NamedTuple):
    kind: str
    data: Any
    cursor: str


def submit(secured: Secured, mentor_id: str) -> str:
    body = {"event_type": "PauseMentorEvent", "mentor_id": mentor_id}
    with secured.rest() as client:
        answer = client.post(f"{BASE}/events", json=body, headers=bearer(secured.issuer.token(**ADMINISTRATOR)))
        return str(answer.raise_for_status().json()["sync_event_id"])


def watched(secured: Secured, claims: dict[str, Any], **query: Any) -> list[Event]:
    """All events with data of a stream of one second."""
    with secured.rest() as client:
        headers = bearer(secured.issuer.token(**claims))
        answer = client.get(f"{BASE}/watch", params=SECOND | query, headers=headers).raise_for_status()
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.split("\n\n") if block]
    return [Event(one["event"], json.loads(one["data"]), one.get("id", "")) for one in blocks if "data" in one]


def test_a_mentors_token_confines_a_stream(secured: Secured) -> None:
    """Without a filter it shows the token's mentor, and nothing of another one."""
    submit(secured, MINE)
    other = submit(secured, OTHERS)
    snapshot, current, *_ = watched(secured, {})
    assert (snapshot.kind, snapshot.data["mentor_id"], current.kind) == ("snapshot", MINE, "current")
    mine = submit(secured, MINE)
    changes = [event for event in watched(secured, {}, cursor=current.cursor) if event.kind == "change"]
    assert [change.data["event"]["sync_event_id"] for change in changes] == [mine]
    everything = json.dumps([event.data for event in watched(secured, ADMINISTRATOR)])
    assert mine in everything
    assert other in everything


def test_another_mentor_is_refused(secured: Secured) -> None:
    """403 before the stream begins, also beside the token's own mentor."""
    for mentors in ([OTHERS], [MINE, OTHERS]):
        with secured.rest() as client:
            headers = bearer(secured.issuer.token())
            answer = client.get(f"{BASE}/watch", params=SECOND | {"mentor_id": mentors}, headers=headers)
        body = assert_error(answer, httpx.codes.FORBIDDEN, PERMISSION_DENIED)
        assert body["details"][0]["reason"] == "NOT_YOUR_MENTOR"


def test_a_cursor_of_another_filter_resets(secured: Secured) -> None:
    """An administrator's cursor, and another mentor's, give a mentor's token nothing but its own present state."""
    submit(secured, MINE)
    for claims in (ADMINISTRATOR, {"mentor_id": OTHERS}):
        cursor = next(event.cursor for event in watched(secured, claims) if event.kind == "current")
        submit(secured, OTHERS)
        reset, snapshot, current, *_ = watched(secured, {}, cursor=cursor)
        assert reset.data == {"reason": "FILTER_CHANGED"}
        assert (snapshot.data["mentor_id"], current.kind) == (MINE, "current")


def test_a_stream_over_grpc_is_confined(secured: Secured) -> None:
    """As over REST."""
    submit(secured, MINE)
    headers: Any = tuple((bearer(secured.issuer.token()) | own_address()).items())
    with secured.channel(secured.client) as channel:
        stub: Any = MentorStatusSyncStub(channel)  # type: ignore[arg-type]  # the stub is for both kinds of channels
        messages = list(stub.WatchSyncEvents(pb.WatchSyncEventsRequest(max_seconds=1), metadata=headers))
        snapshots = [one.snapshot for one in messages if one.kind == pb.WatchSyncEventsResponse.SNAPSHOT]
        assert [snapshot.mentor_id for snapshot in snapshots] == [MINE]
        request = pb.WatchSyncEventsRequest(mentor_id=[OTHERS], max_seconds=1)
        with pytest.raises(grpc.RpcError) as error:
            list(stub.WatchSyncEvents(request, metadata=headers))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
