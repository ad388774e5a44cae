"""A real server on a SQLite file that is removed, replaced, or left behind by kill -9."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.grpc_client import CALL_SECONDS, SERVICE, Connect, failure, submit
from tests.server_process import Database, ServerProcess, command, environment, wait_until

MENTOR_ID = "mntr_01HX4V2K8P"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SECRET = "the-secret-of-this-reason"  # noqa: S105 - a text to look for in files


@pytest.fixture
def server(start_server: Callable[[], ServerProcess]) -> ServerProcess:
    return start_server()


@pytest.fixture
async def channel(server: ServerProcess, connect: Connect) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(server.grpc) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> MentorStatusSyncStub:
    return MentorStatusSyncStub(channel)


async def health_changes(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    health: Any = health_pb2_grpc.HealthStub(channel)
    async for change in health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CALL_SECONDS):
        yield change.status


def remove(database: Database) -> None:
    database.path.unlink()


def replace_by_copy(database: Database) -> None:
    copy = database.path.with_name("backup.db")
    shutil.copy(database.path, copy)
    copy.rename(database.path)


@pytest.mark.parametrize("lose", [remove, replace_by_copy])
async def test_a_lost_file_is_noticed_and_all_calls_are_refused(
    server: ServerProcess,
    channel: grpc.aio.Channel,
    stub: MentorStatusSyncStub,
    database: Database,
    lose: Callable[[Database], None],
) -> None:
    """Otherwise every answered write would be gone after a restart."""
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    changes = health_changes(channel)
    assert await anext(changes) == SERVING
    lose(database)
    assert await anext(changes) == NOT_SERVING  # without a call that could notice it
    for call in (
        stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS),
        stub.GetMentorStatus(pb.GetMentorStatusRequest(mentor_id=MENTOR_ID), timeout=CALL_SECONDS),
        stub.ListSyncEvents(pb.ListSyncEventsRequest(page=1_000, limit=100), timeout=CALL_SECONDS),
    ):
        assert (await failure(call)).reason == "STORAGE_UNAVAILABLE"
    logged = [line["event"] for line in server.log_lines() if line["level"] == "error"]
    assert all("was removed or replaced while in use" in event for event in logged)
    assert all("restore the file from a backup" in event for event in logged)


async def test_no_write_is_answered_after_the_file_was_lost(
    server: ServerProcess, stub: MentorStatusSyncStub, database: Database
) -> None:
    """The first batch after that is refused already, without waiting for a health probe."""
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    remove(database)
    assert (await failure(stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS))).reason == "STORAGE_UNAVAILABLE"
    assert not database.path.exists()
    line = "storage is unavailable, writes fail: the database file "
    await asyncio.to_thread(
        wait_until, lambda: [log for log in server.log_lines() if log["event"].startswith(line)], "the log line"
    )


async def test_a_file_that_comes_back_is_served_again(
    channel: grpc.aio.Channel, stub: MentorStatusSyncStub, database: Database
) -> None:
    """The same file, with all that was written before."""
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    changes = health_changes(channel)
    assert await anext(changes) == SERVING
    moved = database.path.rename(database.path.with_name("moved.db"))
    assert await anext(changes) == NOT_SERVING
    moved.rename(database.path)
    assert await anext(changes) == SERVING
    await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
    page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(), timeout=CALL_SECONDS)
    assert page.pagination.total == 2


def holds_secret(database: Database) -> bool:
    """Whether any of SQLite's files holds the bytes of the secret."""
    return any(SECRET.encode() in file.read_bytes() for file in database.path.parent.glob(f"{database.path.name}*"))


async def test_text_that_was_deleted_before_a_kill_leaves_the_files_after_a_start(
    server: ServerProcess,
    stub: MentorStatusSyncStub,
    database: Database,
    start_server: Callable[[], ServerProcess],
) -> None:
    """The write-ahead log still has it when the server is killed; the next server erases it when it is idle."""
    event = await stub.SubmitEvent(submit(MENTOR_ID, reason=SECRET), timeout=CALL_SECONDS)
    await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event.sync_event_id), timeout=CALL_SECONDS)
    server.kill()
    assert holds_secret(database)
    start_server()
    await asyncio.to_thread(wait_until, lambda: not holds_secret(database), "the text to leave the files")


@pytest.mark.parametrize("name", ["purge", "serve"])
def test_a_mistyped_path_is_refused_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    """Only `migrate` makes a database: neither the file nor its lock or log appears."""
    settings = {"grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", "database_url": "sqlite:///typo.db"}
    finished = subprocess.run(
        command(name), env=environment(settings), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert finished.stderr == (
        f"mentorsync: the database file {tmp_path / 'typo.db'} does not exist: correct the path, or run "
        "`mentorsync migrate` first\n"
    )
    assert list(tmp_path.iterdir()) == []
