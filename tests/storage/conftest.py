"""Every test here runs on every engine, unless its file says why not."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from threading import Lock

import pytest
from mentorsync.storage.engine import Engine
from mentorsync.storage.migrator import migrate
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.sqlite.engine import SqliteEngine

from tests.databases import Databases
from tests.storage.opened import Clock, EventIds, OpenedStorage, OpenEngine

# An engine joins the suite with its name here and a fixture `open_<name>` that gives an OpenEngine.
ENGINES = ["sqlite", "postgres"]


@pytest.fixture
def open_sqlite(tmp_path: Path) -> OpenEngine:
    def open_named(clock: Callable[[], int], new_event_id: Callable[[], str], name: str = "mentorsync") -> Engine:
        return SqliteEngine(tmp_path / f"{name}.db", clock, new_event_id)

    return open_named


@pytest.fixture
def open_postgres(databases: Databases) -> Iterator[OpenEngine]:
    urls: dict[str, str] = {}
    lock = Lock()

    def open_named(clock: Callable[[], int], new_event_id: Callable[[], str], name: str = "mentorsync") -> Engine:
        with lock:
            if name not in urls:
                urls[name] = databases.create()
        return PostgresEngine(urls[name], clock, new_event_id)

    yield open_named
    for url in urls.values():
        databases.drop(url)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A PostgreSQL database with this version's schema, for tests of behaviour that only PostgreSQL has."""
    with databases.fresh() as url:
        engine = PostgresEngine(url)
        migrate(engine)
        engine.close()
        yield url


@pytest.fixture(params=ENGINES)
def open_engine(request: pytest.FixtureRequest) -> OpenEngine:
    opener: OpenEngine = request.getfixturevalue(f"open_{request.param}")
    return opener


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def event_ids() -> EventIds:
    return EventIds()


@pytest.fixture
def empty_engine(open_engine: OpenEngine, clock: Clock, event_ids: EventIds) -> Iterator[Engine]:
    """An engine on a database without a schema."""
    engine = open_engine(clock, event_ids)
    engine.create()
    yield engine
    engine.close()


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    """An engine on a database with this version's schema."""
    migrate(empty_engine)
    return empty_engine


@pytest.fixture
def opened(
    open_engine: OpenEngine, clock: Clock, event_ids: EventIds
) -> Callable[[], AbstractAsyncContextManager[OpenedStorage]]:
    """Opens the test's database with writer and reader, each time anew."""

    @asynccontextmanager
    async def opened_storage() -> AsyncIterator[OpenedStorage]:
        engine = open_engine(clock, event_ids)
        migrate(engine)
        storage = OpenedStorage(engine, clock, event_ids)
        try:
            yield storage
        finally:
            await storage.close()

    return opened_storage


@pytest.fixture
async def storage(opened: Callable[[], AbstractAsyncContextManager[OpenedStorage]]) -> AsyncIterator[OpenedStorage]:
    async with opened() as storage:
        yield storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of `sqlite_engine`."""
    return tmp_path / "mentorsync.db"


@pytest.fixture
def sqlite_engine(path: Path, clock: Clock, event_ids: EventIds) -> Iterator[SqliteEngine]:
    """For tests of behaviour that only SQLite has."""
    engine = SqliteEngine(path, clock, event_ids)
    migrate(engine)
    yield engine
    engine.close()
