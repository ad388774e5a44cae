"""What surrounds the feed: the bytes of server-sent events, errors and idle streams."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE
from tests.feed.conftest import MODES, Open, Service
from tests.feed.receivers import sse, steps_until, watch
from tests.grpc_client import failure_of, submit
from tests.rest.conftest import Run, fresh_file

WATCH = f"{BASE}/watch"


@pytest.fixture(scope="module", params=["embedded", "separate"])
def service(request: pytest.FixtureRequest, run: Run) -> Iterator[Service]:
    with fresh_file() as url, MODES[request.param](run, url, MENTORSYNC_STREAMS_PER_ADDRESS="1000") as service:
        yield service


async def test_server_sent_events_have_the_bytes_of_the_transcoder(
    service: Service, client: httpx.AsyncClient, mentor_id: str
) -> None:
    """A snapshot is the body of GET, and the event of a change is the item of the list."""
    await client.post(f"{BASE}/events", json={"mentor_id": mentor_id, "event_type": "PauseMentorEvent"})
    async with sse(service.url, mentor_id=mentor_id) as receiver:
        await steps_until(receiver, "current")
        await client.post(f"{BASE}/events", json={"mentor_id": mentor_id, "event_type": "ResumeMentorEvent"})
        (change,) = await steps_until(receiver, "change")
        await steps_until(receiver, "heartbeat")
    snapshot = (await client.get(f"{BASE}/{mentor_id}")).json()["pending_events"][:1]
    listed = (await client.get(BASE, params={"mentor_id": mentor_id})).text
    item = listed.partition('"data":[')[2].partition("]")[0].rpartition(",{")[2]
    state = '"accepted":true,"pending":true,"deleted":false,"mentor_status":"active"'
    expected = f'{{"event":{{{item},{state},"changed_at":"{change.data["changed_at"]}"}}'
    retry, *lines = [line for line in receiver.raw if line]
    assert 2_000 <= int(retry.removeprefix("retry: ")) <= 5_000
    assert lines[0] == "event: snapshot"
    assert json.loads(lines[1].removeprefix("data: "))["pending_events"] == snapshot
    assert lines[3:5] == ["event: current", "data: {}"]
    assert lines[5:8] == [
        f"id: {change.cursor}",
        "event: change",
        f"data: {expected}",
    ]
    assert lines[8:10] == [": heartbeat", f"id: {change.cursor}"]


async def test_a_snapshot_is_exactly_that_of_the_contract(
    service: Service, client: httpx.AsyncClient, mentor_id: str
) -> None:
    """Byte for byte."""
    await client.post(f"{BASE}/events", json={"mentor_id": mentor_id, "event_type": "PauseMentorEvent"})
    async with sse(service.url, mentor_id=mentor_id) as receiver:
        await steps_until(receiver, "snapshot")
    assert receiver.raw[-2] == f"data: {(await client.get(f'{BASE}/{mentor_id}')).text}"


async def test_the_headers_keep_proxies_from_holding_events_back(service: Service) -> None:
    """No cache, no buffer, and no header of gRPC."""
    async with sse(service.url, changes_only=True) as receiver:
        headers = receiver.headers
    assert headers["content-type"] == "text/event-stream"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert "x-request-id" in headers
    assert not {name for name in headers if name.startswith("grpc-")}


async def test_the_header_wins_over_the_query(service: Service) -> None:
    """A browser repeats the query, and sends the last id that it got."""
    async with sse(service.url, changes_only=True) as receiver:
        (begin,) = await steps_until(receiver, "current")
    async with sse(service.url, {"last-event-id": begin.cursor}, cursor="A" * 32) as again:
        assert [step.kind for step in await steps_until(again, "current")] == ["current"]


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a cursor": ({"cursor": "x"}, ["cursor"]),
    "mentors": ({"mentor_id": ["mntr_1", "x", "mntr_2", ""]}, ["mentor_id[1]", "mentor_id[3]"]),
    "too many mentors": ({"mentor_id": [f"mntr_{number}" for number in range(101)]}, ["mentor_id"]),
    "no time": ({"max_seconds": 0}, ["max_seconds"]),
    "too long": ({"max_seconds": 3601, "cursor": ""}, ["cursor", "max_seconds"]),
}


@pytest.mark.parametrize(("fields", "violated"), BAD.values(), ids=BAD)
async def test_bad_fields_are_refused_before_the_stream_begins(
    client: httpx.AsyncClient, channel: grpc.aio.Channel, fields: dict[str, Any], violated: list[str]
) -> None:
    """400, or INVALID_ARGUMENT, with all of them."""
    answer = await client.get(WATCH, params=fields)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    details = answer.json()["details"]
    assert [one["field"] for one in details[1]["field_violations"]] == violated
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async with watch(channel, **fields) as receiver:
            await receiver.step()
    assert failure_of(error.value).reason == "INVALID_FIELD"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(client: httpx.AsyncClient, method: str) -> None:
    """405, with the one that is allowed."""
    answer = await client.request(method, WATCH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_idle_streams_outlive_garbage_collection(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """The service collects garbage all the time: only what it keeps itself stays."""
    async with receive(mentor_id=[mentor_id]) as receiver:
        await steps_until(receiver, "heartbeat", 3)
        event = (await stub.SubmitEvent(submit(mentor_id))).sync_event_id
        (change,) = await steps_until(receiver, "change")
    assert change.data["event"]["sync_event_id"] == event
