"""Unusual database URLs, given to `mentorsync migrate`."""

import os
import subprocess
import sys

import pytest

from tests.databases import Databases
from tests.postgres_server import free_port

REFUSED = 2


def run_migrate(url: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MENTORSYNC_DATABASE_URL": url}
    command = [sys.executable, "-m", "mentorsync", "migrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "password",
    [
        "sec/ret",
        "12/ret",
        "12/ret?ret",
        "12/ret?a=ret",
        "sec?ret",
        "sec#ret",
        "sec@ret",
        "sec:ret",
        "sec%zzret",
        "12?ret",
    ],
)
def test_no_part_of_a_password_is_printed(password: str) -> None:
    """The URL is refused, or its server cannot be reached."""
    result = run_migrate(f"postgresql://user:{password}@127.0.0.1:{free_port()}/name")
    assert result.returncode == REFUSED
    assert result.stderr.startswith("mentorsync: ")
    assert result.stderr.count("\n") == 1
    assert "ret" not in result.stdout + result.stderr
    assert "sec" not in result.stdout + result.stderr


@pytest.mark.parametrize("password", ["sec?ret", "sec#ret", "sec%2Fret%40"])
def test_a_clear_url_connects(databases: Databases, password: str) -> None:
    """Its output has the database's address, and no password."""
    with databases.fresh() as url:
        result = run_migrate(url.replace("postgres@", f"postgres:{password}@"))
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(url.replace("postgres@", ""))
        assert "ret" not in result.stdout + result.stderr


def test_a_url_may_name_several_hosts(databases: Databases) -> None:
    """The first host that answers is used."""
    with databases.fresh() as url:
        several = url.replace("@", f"@127.0.0.1:{free_port()},")
        assert run_migrate(several).returncode == 0


def test_a_url_may_name_a_directory_of_sockets(databases: Databases) -> None:
    """The directory is then in the query. The first one here has no server; a host works in its place, too."""
    result = run_migrate("postgresql:///name?host=/nowhere/postgresql")
    assert result.returncode == REFUSED
    assert result.stderr.startswith("mentorsync: postgresql:///name cannot be reached: ")
    assert "/nowhere/postgresql" in result.stderr
    with databases.fresh() as url:
        host, _, name = url.removeprefix("postgresql://postgres@").partition("/")
        address, _, port = host.partition(":")
        query = f"postgresql:///{name}?host={address}&port={port}&user=postgres"
        assert run_migrate(query).returncode == 0
