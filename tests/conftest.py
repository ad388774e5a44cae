import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest

from tests.databases import Databases
from tests.grpc_client import Connect
from tests.postgres_server import PostgresServer, server_directory
from tests.server_process import Database, ServerProcess

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)  # channels to one address would share theirs


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
async def connect() -> AsyncIterator[Connect]:
    """Opens a channel to an address. All tests that do share one event loop, by this fixture's life: when a call has
    ended, grpc still has events for its loop.
    """
    yield lambda address: grpc.aio.insecure_channel(address, options=OWN_CONNECTION)  # noqa: PT022 - returning would end the loop


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty SQLite database with this version's schema."""
    database = Database(tmp_path / "mentorsync.db")
    database.migrate()
    return database


@pytest.fixture
def start_server(database: Database, tmp_path: Path) -> Iterator[Callable[[], ServerProcess]]:
    """Starts a server on the test's database; whatever still runs in the end is killed."""
    servers: list[ServerProcess] = []
    numbers = count()

    def start() -> ServerProcess:
        servers.append(ServerProcess(database, tmp_path / f"server-{next(numbers)}.log"))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server for all tests that do no harm to it: one of their own, or the one that a variable names."""
    if url := os.environ.get("MENTORSYNC_TEST_POSTGRES_URL"):
        yield Databases(url)
        return
    with server_directory() as directory:
        server = PostgresServer(directory).create()
        try:
            yield Databases(server.url("postgres"))
        finally:
            server.stop()
