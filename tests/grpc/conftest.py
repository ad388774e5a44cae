from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.grpc_client import Connect
from tests.server_process import Database, ServerProcess
from tests.up_process import EmbeddedServer

NUMBERS = count()


# The two adapters: grpcio's server, and the ASGI adapter inside Envoy. The same call has the same outcome on both.
ADAPTERS: dict[str, Callable[[Database, Path], ServerProcess]] = {"grpcio": ServerProcess, "envoy": EmbeddedServer}


@pytest.fixture(scope="session", params=ADAPTERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not harm it. Each test uses mentors of its own."""
    folder = tmp_path_factory.mktemp("server")
    database = Database(folder / "mentorsync.db")
    database.migrate()
    server = ADAPTERS[request.param](database, folder / "server.log")
    yield server
    server.kill()


@pytest.fixture(params=ADAPTERS)
def start_each(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path
) -> Iterator[Callable[[], ServerProcess]]:
    """Like `start_server`, for a server of each adapter."""
    servers: list[ServerProcess] = []

    def start() -> ServerProcess:
        servers.append(ADAPTERS[request.param](database, tmp_path / f"server-{len(servers)}.log"))
        return servers[-1]

    yield start
    for server in servers:
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
