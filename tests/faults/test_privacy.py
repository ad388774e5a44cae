"""The text of a reason is nowhere but in the database, and once it is deleted, nowhere at all."""

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.contract import BASE
from tests.faults.conftest import StartUp
from tests.grpc_client import Connect, key, submit
from tests.server_process import Database, ServerProcess, wait_until

EVENTS = f"{BASE}/events"
SECRET = "Burnout, see Dr Grey"  # noqa: S105 - a text to look for


def test_a_reason_is_in_no_log_metric_or_error(start_up: StartUp, database: Database, tmp_path: Path) -> None:
    """Neither when it is stored, nor when the call is refused, even at the level debug."""
    up = start_up(log_level="debug", log_format="json")
    body = {"event_type": "PauseMentorEvent", "mentor_id": "mntr_1", "reason": SECRET}
    with httpx.Client(base_url=up.url) as client:
        event = client.post(EVENTS, json=body, headers={"idempotency-key": "k"}).json()
        assert client.put(f"{EVENTS}/{event['sync_event_id']}", json={"reason": SECRET * 2}).status_code == 200
        refused = [
            client.post(EVENTS, json=body | {"reason": "other"}, headers={"idempotency-key": "k"}),
            client.post(EVENTS, json=body | {"reason": SECRET * 30}),
            client.post(EVENTS, json=body | {"reason": f"{SECRET}\0"}),
            client.post(EVENTS, json=body | {"reason": [SECRET]}),
            client.post(EVENTS, json=body | {"mentor_id": ""}),
            client.post(f"{EVENTS}?reason={SECRET}", json=body),
            client.put(f"{EVENTS}/evt_UNKNOWN1", json={"reason": SECRET}),
            client.get(BASE, params={"reason": SECRET}),
        ]
        metrics = [client.get(up.announced["metrics"]), client.get(f"{up.announced['admin']}/stats")]
    up.signal(signal.SIGTERM)
    assert up.end() == 0
    assert {400, 404} == {answer.status_code for answer in refused}
    log = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert log.count(f'"{EVENTS}"') > 1
    for text in (log, *(answer.text for answer in refused + metrics)):
        assert "Grey" not in text
    assert SECRET in database.execute("SELECT reason FROM events")[0][0]


async def test_deleted_text_is_gone_after_kill_9(
    start_server: Callable[[], ServerProcess], connect: Connect, database: Database
) -> None:
    """A server that is killed before it could empty the write-ahead log leaves it there. The next one removes it."""
    server = start_server()
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()  # while it reads, the log cannot be emptied
        async with connect(server.grpc) as channel:
            stub = MentorStatusSyncStub(channel)
            event = await stub.SubmitEvent(submit("mntr_1", reason=SECRET), **key("k"))
            await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event.sync_event_id))
        server.kill()
        assert SECRET.encode() in bytes_of(database)
        start_server()
        reader.execute("ROLLBACK")
        wait_until(lambda: SECRET.encode() not in bytes_of(database), "the end of the text")


def bytes_of(database: Database) -> bytes:
    """All that SQLite keeps in files."""
    return b"".join(file.read_bytes() for file in database.path.parent.glob(f"{database.path.name}*"))
