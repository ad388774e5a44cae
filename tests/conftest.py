import os
from collections.abc import Iterator

import pytest

from tests.databases import Databases
from tests.postgres_server import PostgresServer, server_directory


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run on asyncio, as the service does."""
    return "asyncio"


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
