"""PostgreSQL servers that a test may kill, freeze and promote. Each test has its own."""

from collections.abc import Iterator

import pytest
from mentorsync.storage.engine import open_engine
from mentorsync.storage.migrator import migrate

from tests.postgres_server import PostgresServer, server_directory


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server with a migrated database `mentorsync`."""
    with server_directory() as directory:
        server = PostgresServer(directory).create()
        try:
            server.execute("CREATE DATABASE mentorsync")
            engine = open_engine(server.url("mentorsync"))
            migrate(engine)
            engine.close()
            yield server
        finally:
            server.stop()
