"""kill -9 during writes: no answered write is lost, and no write is stored twice."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count

import grpc
import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.databases import Databases, migrate_database
from tests.faults.damage import check_database
from tests.faults.kill_rounds import kill_in_rounds
from tests.faults.load import CLIENTS
from tests.grpc_client import CALL_SECONDS, Connect, key, submit
from tests.server_process import Database, ServerProcess

ROUNDS = 3
STREAMS = 8
ANSWERS_BEFORE_KILL = 150
MENTOR_ID = "mntr_01HX4V2K8P"

Answers = dict[str, pb.SubmitEventResponse]


@pytest.fixture
def sqlite_url(database: Database) -> str:
    return database.url


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        migrate_database(url)
        yield url


async def submit_until_killed(
    server: ServerProcess, connect: Connect, next_key: Callable[[], str]
) -> tuple[Answers, set[str]]:
    """Submits events until the server is killed. Returns the answers by key, and the keys without an answer."""
    answers: Answers = {}
    unanswered: set[str] = set()

    async def stream(stub: MentorStatusSyncStub) -> None:
        while True:
            name = next_key()
            call = stub.SubmitEvent(submit(MENTOR_ID, reason=name), **key(name))
            if await call.code() is not grpc.StatusCode.OK:
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
                unanswered.add(name)
                return
            answers[name] = await call
            if len(answers) == ANSWERS_BEFORE_KILL:
                server.kill()

    async with connect(server.grpc) as channel:
        await asyncio.gather(*(stream(MentorStatusSyncStub(channel)) for _ in range(STREAMS)))
    return answers, unanswered


async def test_every_answered_event_is_stored_once_after_kill_9(
    start_server: Callable[[], ServerProcess], connect: Connect, database: Database
) -> None:
    """After each restart, a repeat of an answered submit gives the same answer. Repeats of an unanswered submit create
    one event.
    """
    numbers = count()
    answers: Answers = {}
    for _ in range(ROUNDS):
        answered, unanswered = await submit_until_killed(start_server(), connect, lambda: f"key-{next(numbers)}")
        assert len(answered) >= ANSWERS_BEFORE_KILL
        assert unanswered
        answers |= answered
        server = start_server()
        async with connect(server.grpc) as channel:
            stub = MentorStatusSyncStub(channel)
            for name, answer in answers.items():
                assert await stub.SubmitEvent(submit(MENTOR_ID, reason=name), **key(name)) == answer
            for name in unanswered:
                repeated = [await stub.SubmitEvent(submit(MENTOR_ID, reason=name), **key(name)) for _ in range(2)]
                assert repeated[0] == repeated[1]
                answers[name] = repeated[0]
            page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(limit=1), timeout=CALL_SECONDS)
            assert page.pagination.total == len(answers)
        server.kill()
    stored = database.execute("SELECT sequence, sync_event_id FROM events ORDER BY sequence")
    assert [sequence for sequence, _ in stored] == list(range(1, len(answers) + 1))
    assert {event_id for _, event_id in stored} == {answer.sync_event_id for answer in answers.values()}
    assert database.execute("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_kill_9_in_rounds(engine: str, request: pytest.FixtureRequest, connect: Connect) -> None:
    """Clients go on while servers are killed and started again: no answered write is lost, and none is doubled."""
    url = request.getfixturevalue(f"{engine}_url")
    outcome = await kill_in_rounds(url, connect, ROUNDS, seed=1)
    check_database(url, outcome.load)
    assert outcome.kills == ROUNDS
    assert ROUNDS <= len(outcome.load.unavailable) <= ROUNDS * CLIENTS
