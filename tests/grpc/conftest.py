from collections.abc import AsyncIterator, Iterator
from itertools import count

import grpc
import pytest
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.grpc_client import Connect
from tests.server_process import Database, ServerProcess

NUMBERS = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not harm it. Each test uses mentors of its own."""
    folder = tmp_path_factory.mktemp("server")
    database = Database(folder / "mentorsync.db")
    database.migrate()
    server = ServerProcess(database, folder / "server.log")
    yield server
    server.kill()


@pytest.fixture
async def channel(server: ServerProcess, connect: Connect) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(server.grpc) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> MentorStatusSyncStub:
    return MentorStatusSyncStub(channel)


@pytest.fixture
def mentor_id() -> str:
    """A mentor that no other test uses."""
    return f"mntr_{next(NUMBERS)}"
