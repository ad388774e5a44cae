"""Many concurrent clients: the log is exact."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.grpc_client import CALL_SECONDS, Connect, key, submit
from tests.server_process import Database, ServerProcess

CLIENTS = 8
MENTOR_IDS = [f"mntr_{number}" for number in range(10)]
LEADS_TO = {1: 2, 2: 1, 3: 3, 4: 1}
ALLOWED_FROM = {1: {1, 2}, 2: {1, 2}, 3: {1, 2, 3}, 4: {1, 2, 3}}


@pytest.fixture
async def clients(
    start_each: Callable[[], ServerProcess], connect: Connect
) -> AsyncIterator[list[MentorStatusSyncStub]]:
    """Clients with one connection each to a server that only this test uses."""
    server = start_each()
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connect(server.grpc)) for _ in range(CLIENTS)]
        yield [MentorStatusSyncStub(channel) for channel in channels]


async def listed(stub: MentorStatusSyncStub, mentor_id: str | None = None) -> list[str]:
    """The ids of all pending events, page by page."""
    ids: list[str] = []
    page = 1
    while True:
        request = pb.ListSyncEventsRequest(page=page, limit=100, mentor_id=mentor_id)
        answer = await stub.ListSyncEvents(request, timeout=CALL_SECONDS)
        ids += [event.sync_event_id for event in answer.data]
        if not answer.data:
            assert answer.pagination.total == len(ids)
            return ids
        page += 1


async def test_the_same_keys_from_all_clients_make_one_event_each(
    clients: list[MentorStatusSyncStub], database: Database
) -> None:
    """All clients get the same answer for a key, and the log has no gap."""
    keys = [f"key-{number}" for number in range(60)]

    async def submit_all(number: int, stub: MentorStatusSyncStub) -> dict[str, pb.SubmitEventResponse]:
        shuffled = Random(number).sample(keys, len(keys))  # noqa: S311 - repeatable, not secret
        calls = (stub.SubmitEvent(submit(MENTOR_IDS[0], reason=name), **key(name)) for name in shuffled)
        return dict(zip(shuffled, await asyncio.gather(*calls), strict=True))

    answers = await asyncio.gather(*(submit_all(number, stub) for number, stub in enumerate(clients)))
    assert all(answer == answers[0] for answer in answers)
    assert sorted(await listed(clients[0])) == sorted(answer.sync_event_id for answer in answers[0].values())
    assert database.execute("SELECT sequence FROM events ORDER BY 1") == [(n,) for n in range(1, len(keys) + 1)]


async def test_the_same_taps_without_keys_make_one_event_each(clients: list[MentorStatusSyncStub]) -> None:
    """The client_timestamp identifies a repeated submit."""

    async def submit_all(stub: MentorStatusSyncStub) -> list[pb.SubmitEventResponse]:
        taps = [submit(MENTOR_IDS[0], client_timestamp=Timestamp(seconds=seconds)) for seconds in range(40)]
        return await asyncio.gather(*(stub.SubmitEvent(tap, timeout=CALL_SECONDS) for tap in taps))

    answers = await asyncio.gather(*(submit_all(stub) for stub in clients))
    assert all(answer == answers[0] for answer in answers)
    assert len({answer.sync_event_id for answer in answers[0]}) == 40


@pytest.mark.parametrize("mentor_ids", [MENTOR_IDS[:1], MENTOR_IDS], ids=["one mentor", "many mentors"])
async def test_every_decision_follows_from_the_ones_before(
    clients: list[MentorStatusSyncStub], database: Database, mentor_ids: list[str]
) -> None:
    """Replaying the log in order gives every recorded decision and the final status."""

    async def work(number: int, stub: MentorStatusSyncStub) -> None:
        random = Random(number)  # noqa: S311 - repeatable, not secret
        for nanos in range(number, 40 * CLIENTS, CLIENTS):
            event = submit(random.choice(mentor_ids), random.choice(list(LEADS_TO)))
            if random.random() < 0.2:
                event.client_timestamp.CopyFrom(Timestamp(seconds=1_774_516_500 + random.randrange(5), nanos=nanos))
            answer = await stub.SubmitEvent(event, timeout=CALL_SECONDS)
            if random.random() < 0.3:
                change = pb.UpdateEventRequest(sync_event_id=answer.sync_event_id, acknowledged=True)
                await stub.UpdateEvent(change, timeout=CALL_SECONDS)
            if random.random() < 0.2:
                removal = pb.DeleteEventRequest(sync_event_id=answer.sync_event_id)
                await stub.DeleteEvent(removal, timeout=CALL_SECONDS)

    await asyncio.gather(*(work(number, stub) for number, stub in enumerate(clients)))
    rows = database.execute(
        "SELECT mentor_id, event_type, accepted, resulting_status, server_timestamp, client_timestamp "
        "FROM events ORDER BY sequence"
    )
    assert all(earlier[4] <= later[4] for earlier, later in pairwise(rows))
    for mentor_id in mentor_ids:
        status, effective = 1, None
        for _, event_type, accepted, resulting_status, decided, sent in (row for row in rows if row[0] == mentor_id):
            own = min(decided if sent is None else sent, decided) // 1_000_000
            assert accepted == ((effective is None or own >= effective) and status in ALLOWED_FROM[event_type])
            if accepted:
                status, effective = LEADS_TO[event_type], own
            assert resulting_status == status
        snapshot = await clients[0].GetMentorStatus(
            pb.GetMentorStatusRequest(mentor_id=mentor_id), timeout=CALL_SECONDS
        )
        assert snapshot.status == status
    pending = "accepted AND NOT acknowledged AND deleted_at IS NULL"
    ids = database.execute(f"SELECT sync_event_id FROM events WHERE {pending} ORDER BY sequence")  # noqa: S608 - of the line above
    assert await listed(clients[0]) == [event_id for (event_id,) in ids]
    revisions = database.execute("SELECT MAX(revision), MAX(sequence) FROM events")
    assert max(revisions[0]) == database.execute("SELECT last_revision FROM log")[0][0]
