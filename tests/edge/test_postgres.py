"""TLS to PostgreSQL, by the parameters of the database's URL."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from mentorsync.cli import EXIT_REFUSED

from tests.databases import Databases
from tests.edge.certificates import Authority
from tests.edge.postgres_tls import TlsProxy
from tests.server_process import WAIT_SECONDS, Database, ServerProcess, command, environment


class SecurePostgres(NamedTuple):
    proxy: TlsProxy
    ca: Path
    database: str

    def url(self, ca: Path, host: str = "127.0.0.1") -> str:
        """The URL of a database that is reached as `host`, and whose certificate an authority must have signed."""
        server = urlsplit(self.database)
        location = f"{server.username}@{host}:{self.proxy.port}"
        return server._replace(netloc=location, query=f"sslmode=verify-full&sslrootcert={ca}").geturl()


@pytest.fixture
async def postgres(databases: Databases, authority: Authority) -> AsyncIterator[SecurePostgres]:
    with databases.fresh() as url:
        proxy = TlsProxy(authority.issue("postgres", "127.0.0.1"), urlsplit(url).port or 0)
        async with proxy.running():
            yield SecurePostgres(proxy, authority.ca, url)


class PostgresDatabase(Database):
    """The database of a URL, in place of a SQLite file."""

    def __init__(self, url: str) -> None:
        self.url = url


async def migrate(url: str) -> subprocess.CompletedProcess[str]:
    settings = environment({"database_url": url})
    return await asyncio.to_thread(
        subprocess.run, command("migrate"), env=settings, capture_output=True, text=True, timeout=WAIT_SECONDS
    )


async def test_every_connection_is_secure(postgres: SecurePostgres, tmp_path: Path) -> None:
    """With verify-full, the service and its migrations use TLS, and check the server's certificate and name."""
    url = postgres.url(postgres.ca)
    migrated = await migrate(url)
    assert migrated.returncode == 0, migrated.stderr
    before = postgres.proxy.connections
    server = await asyncio.to_thread(ServerProcess, PostgresDatabase(url), tmp_path / "server.log")
    server.kill()  # it was ready, so it could read and write
    assert postgres.proxy.connections >= before + 2


async def test_another_authority_is_refused(postgres: SecurePostgres, tmp_path: Path) -> None:
    """In one line, without the URL's credentials."""
    outcome = await migrate(postgres.url(Authority(tmp_path, "others").ca))
    assert outcome.returncode == EXIT_REFUSED
    assert "certificate verify failed" in outcome.stderr
    assert "postgres@" not in outcome.stderr


async def test_another_name_is_refused(postgres: SecurePostgres) -> None:
    """The certificate is for 127.0.0.1."""
    outcome = await migrate(postgres.url(postgres.ca, "localhost"))
    assert outcome.returncode == EXIT_REFUSED
    assert 'does not match host name "localhost"' in outcome.stderr
