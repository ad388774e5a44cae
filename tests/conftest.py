import os

# Before grpc is imported. Its handlers for a fork crash some of the programs that tests start while calls run: between
# fork and exec, grpc begins threads in the child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from tests.databases import Databases
from tests.grpc_client import Connect, open_channel
from tests.postgres_server import PostgresServer, server_directory
from tests.server_process import Database, ServerProcess

settings.register_profile("untimed", deadline=None)  # a busy machine may hold up any example
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def folder_of_processes() -> Iterator[None]:
    """Where the processes that tests start put temporary files: those that are killed would leave them behind."""
    with (
        tempfile.TemporaryDirectory(prefix="mentorsync-tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        patch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio, like the service."""
    return "asyncio"


@pytest.fixture(scope="session")
async def connect() -> AsyncIterator[Connect]:
    """Opens a channel to an address.

    This fixture lives for the whole session and so keeps one event loop for all tests. This is needed because grpc may
    deliver events to its loop after a call has ended.
    """
    yield open_channel  # noqa: PT022 - with `return` the loop would end


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty SQLite database with this version's schema."""
    database = Database(tmp_path / "mentorsync.db")
    database.migrate()
    return database


@pytest.fixture
def start_server(database: Database, tmp_path: Path) -> Iterator[Callable[[], ServerProcess]]:
    """Starts servers on the test's database. Servers that still run at the end are killed."""
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
    """Databases on a PostgreSQL server that all tests share. Tests that stop a server use their own.

    MENTORSYNC_TEST_POSTGRES_URL may name an existing server. Otherwise one is started.
    """
    if url := os.environ.get("MENTORSYNC_TEST_POSTGRES_URL"):
        yield Databases(url)
        return
    with server_directory() as directory:
        server = PostgresServer(directory).create()
        try:
            yield Databases(server.url("postgres"))
        finally:
            server.stop()
