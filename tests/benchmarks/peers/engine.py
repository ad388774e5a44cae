"""The project's storage engine, without the service around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mentorsync.storage.engine import open_engine
from mentorsync.storage.migrator import migrate
from mentorsync.storage.writer import Writer

from tests.benchmarks.peers.storage import Storage


@asynccontextmanager
async def open_engine_storage(url: str) -> AsyncIterator[Storage]:
    """Migrates the database. At the end, finishes all writes and closes it."""
    engine = open_engine(url)
    migrate(engine)
    writer = Writer(engine.open_store, lambda _operations: None)
    try:
        yield Storage(engine.open_reader(), writer)
    finally:
        await writer.close()
        engine.close()
