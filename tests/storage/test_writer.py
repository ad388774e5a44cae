"""The queue before the one writer."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from mentorsync.domain.operations import Operation
from mentorsync.storage import writer
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError
from mentorsync.storage.store import Commit

from tests.storage.opened import WAIT_SECONDS, OpenedStorage


async def test_what_waits_is_written_together(storage: OpenedStorage) -> None:
    """Writes that queue up behind a transaction make one batch."""
    storage.gate.close()
    first = asyncio.create_task(storage.submit())
    await storage.gate.entered()
    rest = [asyncio.create_task(storage.submit()) for _ in range(20)]
    await asyncio.sleep(0)
    assert storage.writer.queued == 21
    storage.gate.open()
    await asyncio.gather(first, *rest)
    assert storage.batches == [1, 20]
    assert storage.writer.queued == 0


async def test_a_batch_is_bounded(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction keeps the write lock for more operations than the bound."""
    monkeypatch.setattr(writer, "MAX_BATCH_OPERATIONS", 8)
    storage.gate.close()
    first = asyncio.create_task(storage.submit())
    await storage.gate.entered()
    rest = [asyncio.create_task(storage.submit()) for _ in range(20)]
    await asyncio.sleep(0)
    storage.gate.open()
    await asyncio.gather(first, *rest)
    assert storage.batches == [1, 8, 8, 4]


async def test_a_write_beyond_the_bound_is_refused_at_once(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was queued is still written, and nothing of what was refused; then there is room again."""
    monkeypatch.setattr(writer, "MAX_QUEUED_WRITES", 10)
    storage.gate.close()
    queued = [asyncio.create_task(storage.submit()) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await asyncio.wait_for(storage.submit(), WAIT_SECONDS)
    storage.gate.open()
    events = await asyncio.gather(*queued)
    assert await storage.pending_ids() == [event.sync_event_id for event in sorted(events)]
    assert (await storage.submit()).sequence == 11


async def test_a_write_whose_caller_is_gone_before_its_batch_is_dropped(storage: OpenedStorage) -> None:
    """Nothing of it happens, and the others of the batch do."""
    storage.gate.close()
    first = asyncio.create_task(storage.submit())
    await storage.gate.entered()
    gone, stays = (asyncio.create_task(storage.submit(key=key)) for key in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    storage.gate.open()
    assert [event.sequence for event in await asyncio.gather(first, stays)] == [1, 2]
    assert (await storage.submit(key="gone")).sequence == 3
    assert storage.batches == [1, 1, 1]
    assert storage.writer.queued == 0


async def test_a_write_whose_caller_is_gone_after_its_batch_started_happens(storage: OpenedStorage) -> None:
    """A repetition finds it."""
    storage.gate.close()
    gone = asyncio.create_task(storage.submit(key="k"))
    await storage.gate.entered()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    storage.gate.open()
    assert (await storage.submit(key="k")).sequence == 1
    assert len(await storage.pending_ids()) == 1


async def test_closing_writes_what_is_queued(opened: Callable[[], AbstractAsyncContextManager[OpenedStorage]]) -> None:
    """What was accepted before the writer was closed is stored and answered."""
    async with opened() as storage:
        storage.gate.close()
        tasks = [asyncio.create_task(storage.submit()) for _ in range(5)]
        await storage.gate.entered()
    events = await asyncio.gather(*tasks)
    async with opened() as storage:
        assert await storage.pending_ids() == [event.sync_event_id for event in sorted(events)]


async def test_a_failing_tidy_does_not_end_the_writer(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tidying up is no more than a favour: writes go on after it has failed."""
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.001)
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Untidy:
        def __init__(self) -> None:
            store = storage.engine.open_store()
            self.transact = store.transact
            self.on_commit = store.on_commit
            self.close = store.close

        def tidy(self) -> None:
            loop.call_soon_threadsafe(failed.set)
            raise OSError("no space left on device")

    one_writer = writer.Writer(Untidy, lambda _commit: None)
    await asyncio.wait_for(failed.wait(), WAIT_SECONDS)
    storage.writer, before = one_writer, storage.writer
    await before.close()
    assert (await asyncio.wait_for(storage.submit(), WAIT_SECONDS)).sequence == 1


async def test_an_outage_is_logged_where_it_begins_and_ends(
    storage: OpenedStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Once each, however many writes fail between."""

    class Away:
        is_away = True

        def __init__(self) -> None:
            self.store = storage.engine.open_store()
            self.on_commit = self.store.on_commit
            self.tidy = self.store.tidy
            self.close = self.store.close

        def transact(self, operations: Sequence[Operation]) -> Commit:
            if Away.is_away:
                raise StorageUnavailableError("away")
            return self.store.transact(operations)

    await storage.writer.close()
    storage.writer = writer.Writer(Away, lambda _commit: None)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(StorageUnavailableError):
                await storage.submit()
        Away.is_away = False
        for _ in range(3):
            await storage.submit()
    assert [record.message for record in caplog.records] == [
        "storage is unavailable, writes fail: away",
        "storage is available again, writes succeed",
    ]


async def test_a_write_that_takes_too_long_is_given_up(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller is told while it still listens; a write that had begun is found when it is repeated."""
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 0.05)
    storage.gate.close()
    with pytest.raises(StorageUnavailableError):
        await storage.submit(key="k")
    with pytest.raises(StorageUnavailableError):
        await storage.submit(key="dropped")
    storage.gate.open()
    monkeypatch.undo()
    assert (await storage.submit(key="k")).sequence == 1
    assert (await storage.submit(key="dropped")).sequence == 2
