"""What a test may kill, freeze and promote: PostgreSQL servers and `mentorsync up`. Each test has its own."""

import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_server import PostgresServer, migrated_server
from tests.server_process import Database
from tests.up_process import UpProcess

StartUp = Callable[..., UpProcess]


@pytest.fixture(params=[(), ("--separate",)], ids=["embedded", "separate"])
def up_flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flags of `mentorsync up` for each mode."""
    flags: tuple[str, ...] = request.param
    return flags


@pytest.fixture
def start_up(up_flags: tuple[str, ...], database: Database, tmp_path: Path) -> Iterator[StartUp]:
    """Starts `up` on the test's database; whatever still runs in the end is killed."""
    started: list[UpProcess] = []
    numbers = count()

    def start(**settings: Any) -> UpProcess:
        started.append(UpProcess(database, tmp_path / f"up-{next(numbers)}.log", up_flags, **settings))
        return started[-1]

    yield start
    for up in started:
        up.signal(signal.SIGKILL)
        up.end()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with migrated_server() as server:
        yield server
