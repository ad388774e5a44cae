"""What only PostgreSQL can show: its locks, its lost connections, its plans, and many writers on one log."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.migrator import migrate
from mentorsync.storage.postgres import PostgresEngine, PostgresStore

from tests.databases import Databases, execute
from tests.storage.opened import MENTOR_ID, Clock

PAUSE = EventType.PAUSE
WAIT_SECONDS = 10
POISON = SubmitOperation("mntr_\ud800", PAUSE, "", None, None)  # no encoding can store this


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        engine = PostgresEngine(url)
        migrate(engine)
        engine.close()
        yield url


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., PostgresStore]]:
    """Opens stores as several servers would, each on connections of its own."""
    engines: list[PostgresEngine] = []

    def open_one(clock: Callable[[], int] | None = None) -> PostgresStore:
        engines.append(PostgresEngine(url, clock))
        return engines[-1].open_store()

    yield open_one
    for engine in engines:
        engine.close()


def submit(key: str) -> SubmitOperation:
    return SubmitOperation(MENTOR_ID, PAUSE, "", None, key)


def only_event(store: PostgresStore, operation: SubmitOperation) -> SyncEvent:
    (event,) = store.transact([operation]).outcomes
    assert isinstance(event, SyncEvent)
    return event


class StandingClock(Clock):
    """Stands still inside the first batch that asks it, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> int:
        self.asked.set()
        assert self.released.wait(WAIT_SECONDS)
        return super().__call__()


def test_who_stands_still_inside_a_batch_loses_the_log(open_store: Callable[..., PostgresStore]) -> None:
    """The others go on at once without an error, and the batch that stood still is written after all, once."""
    clock = StandingClock()
    standing, other = open_store(clock), open_store()
    with ThreadPoolExecutor(1) as thread:
        try:
            outcome = thread.submit(only_event, standing, submit("standing"))
            assert clock.asked.wait(WAIT_SECONDS)
            assert only_event(other, submit("other")).sequence == 1
        finally:
            clock.released.set()
        assert outcome.result(WAIT_SECONDS).sequence == 2
    assert only_event(other, submit("standing")) == outcome.result()


def test_an_operation_that_fails_leaves_no_lock_behind(url: str, open_store: Callable[..., PostgresStore]) -> None:
    """Whatever it fails with, its transaction is over."""
    store = open_store()
    with pytest.raises(ValueError, match="surrogate"):
        store.transact([POISON])
    assert locks(url) == []
    assert only_event(store, submit("next")).sequence == 1


def locks(url: str) -> list[tuple[Any, ...]]:
    return execute(
        url,
        "SELECT pid, state FROM pg_stat_activity "
        "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
    )
