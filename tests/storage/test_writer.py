"""The queue of writes and the thread that commits them."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain
from queue import SimpleQueue
from typing import Any, TypeAlias

import psycopg
import pytest
from mentorsync.domain.operations import Operation, SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage import write_queue, writer
from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError, WriterFailedError
from mentorsync.storage.store import Commit, Store
from mentorsync.time_limits import ANSWER_SECONDS

from tests.storage.opened import MENTOR_ID, POLL_SECONDS, WAIT_SECONDS, OpenedStorage

Listener: TypeAlias = Callable[[Commit], None]


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
    await storage.announced()
    assert storage.batches == [1, 20]
    assert storage.writer.queued == 0


async def test_a_batch_is_bounded(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction keeps the write lock for more operations than the bound."""
    monkeypatch.setattr(write_queue, "MAX_BATCH_OPERATIONS", 8)
    storage.gate.close()
    first = asyncio.create_task(storage.submit())
    await storage.gate.entered()
    rest = [asyncio.create_task(storage.submit()) for _ in range(20)]
    await asyncio.sleep(0)
    storage.gate.open()
    await asyncio.gather(first, *rest)
    await storage.announced()
    assert storage.batches == [1, 8, 8, 4]


async def test_a_write_beyond_the_bound_is_refused_at_once(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued writes are still carried out, the refused one is not, and then there is room again."""
    monkeypatch.setattr(write_queue, "MAX_QUEUED_WRITES", 10)
    storage.gate.close()
    queued = [asyncio.create_task(storage.submit()) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await asyncio.wait_for(storage.submit(), WAIT_SECONDS)
    storage.gate.open()
    events = await asyncio.gather(*queued)
    assert await storage.pending_ids() == [event.sync_event_id for event in sorted(events)]
    assert (await storage.submit()).sequence == 11


async def test_a_write_whose_caller_leaves_before_its_batch_is_dropped(storage: OpenedStorage) -> None:
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
    await storage.announced()
    assert storage.batches == [1, 1, 1]
    assert storage.writer.queued == 0


async def test_a_write_whose_caller_leaves_after_its_batch_started_is_carried_out(storage: OpenedStorage) -> None:
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
    """Writes that were queued before the writer was closed are stored and answered."""
    async with opened() as storage:
        storage.gate.close()
        tasks = [asyncio.create_task(storage.submit()) for _ in range(5)]
        await storage.gate.entered()
    events = await asyncio.gather(*tasks)
    async with opened() as storage:
        assert await storage.pending_ids() == [event.sync_event_id for event in sorted(events)]


async def test_a_write_that_the_database_refuses_fails_alone(storage: OpenedStorage) -> None:
    """A wrong total, which no change may bring below zero, does not fail the other writes of the batch."""
    event = await storage.submit()
    storage.engine.database.execute_sql("UPDATE mentors SET pending_total = 0")
    storage.gate.close()
    first = asyncio.create_task(storage.submit(mentor_id="mntr_other"))
    await storage.gate.entered()
    refused = asyncio.create_task(storage.delete(event))
    written = asyncio.create_task(storage.submit(mentor_id="mntr_other"))
    await asyncio.sleep(0)
    storage.gate.open()
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.CheckViolation)):
        await refused
    assert [outcome.sequence for outcome in await asyncio.gather(first, written)] == [2, 3]


class WrappedStore:
    """The engine's store. A test replaces one of its methods."""

    def __init__(self, engine: Engine) -> None:
        store = engine.open_store()
        self.transact: Callable[[Sequence[Operation]], Commit] = store.transact
        self.on_commit: Listener = store.on_commit
        self.run_maintenance: Callable[[], None] = store.run_maintenance
        self.close = store.close


async def replace_writer(storage: OpenedStorage, open_store: Callable[[], Store], *listeners: Listener) -> None:
    """Gives the opened storage a writer of the test's own."""
    await storage.writer.close()
    storage.writer = writer.Writer(open_store, *listeners)


async def submit_at_once(storage: OpenedStorage) -> SyncEvent:
    """Long before a write is given up that nobody carries out."""
    async with asyncio.timeout(ANSWER_SECONDS / 2):
        return await storage.submit()


async def test_failing_maintenance_is_logged_once_and_does_not_end_the_writer(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried in every idle moment, and writes succeed all the same."""
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.001)
    calls: SimpleQueue[None] = SimpleQueue()

    def fail() -> None:
        calls.put(None)
        raise OSError("no space left on device")

    store = WrappedStore(storage.engine)
    store.run_maintenance = fail
    await replace_writer(storage, lambda: store)
    for _ in range(3):
        await asyncio.to_thread(calls.get, timeout=WAIT_SECONDS)
    assert (await asyncio.wait_for(storage.submit(), WAIT_SECONDS)).sequence == 1
    assert caplog.messages == ["maintenance of the database failed: no space left on device"]


class TestWorkAfterACommit:
    """The commit is complete: a failure of the work that follows changes no outcome."""

    ERRORS = (ValueError, StorageUnavailableError, sqlite3.IntegrityError, sqlite3.OperationalError)

    @pytest.mark.parametrize("error", ERRORS)
    async def test_it_may_fail_without_repeating_the_batch(
        self, storage: OpenedStorage, caplog: pytest.LogCaptureFixture, error: type[Exception]
    ) -> None:
        """Three submits without a key stay three events, their callers get them, and one line is logged."""

        def fail(_commit: Commit) -> None:
            raise error("no space left on device")

        store = WrappedStore(storage.engine)
        store.on_commit = fail
        announced: list[int] = []
        await replace_writer(storage, lambda: store, fail, lambda commit: announced.append(len(commit.outcomes)))
        events = await asyncio.wait_for(storage.submit_many(3), WAIT_SECONDS)
        assert [event.sequence for event in events] == [1, 2, 3]
        await storage.writer.close()
        assert await storage.pending_ids() == [event.sync_event_id for event in events]
        assert sum(announced) == 3
        line = "work after a commit failed; the commit itself is complete: no space left on device"
        assert caplog.messages == [line] * 2  # one for each of the two that fail

    async def test_it_is_logged_again_after_it_succeeded(
        self, storage: OpenedStorage, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log shows where the failures begin and end."""
        failing = {2, 3, 5}

        def fail_at_times(commit: Commit) -> None:
            if commit.head.last_revision in failing:
                raise ValueError("a bug")

        await replace_writer(storage, storage.engine.open_store, fail_at_times)
        for _ in range(5):
            await storage.submit()
        await storage.writer.close()
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
        assert "ValueError: a bug" in caplog.text

    async def test_the_stores_own_work_comes_last(self, storage: OpenedStorage) -> None:
        """It may take long, as a checkpoint does, and a receiver of the live feed should not wait for it."""
        order: list[str] = []
        store = WrappedStore(storage.engine)
        store.on_commit = lambda _commit: order.append("store")
        await replace_writer(storage, lambda: store, lambda _commit: order.append("listener"))
        await storage.submit()
        await storage.writer.close()
        assert order == ["listener", "store"]

    async def test_a_batch_that_all_callers_left_is_not_announced(self, storage: OpenedStorage) -> None:
        """There is no transaction for it, and none is counted."""
        storage.gate.close()
        first = asyncio.create_task(storage.submit())
        await storage.gate.entered()
        left = [asyncio.create_task(storage.submit()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        storage.gate.open()
        await first
        assert (await storage.submit()).sequence == 2
        await storage.announced()
        assert storage.batches == [1, 1]


class TestEnd:
    """A writer that has ended refuses every write at once."""

    async def test_a_store_that_cannot_be_opened_ends_the_writer(
        self, storage: OpenedStorage, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log has the traceback, and `ended` has the error."""

        def fail() -> Store:
            raise ValueError("a bug")

        await replace_writer(storage, fail)
        with pytest.raises(WriterFailedError, match="a bug"):
            await asyncio.wait_for(storage.writer.ended, WAIT_SECONDS)
        with pytest.raises(StorageUnavailableError):
            await submit_at_once(storage)
        with pytest.raises(StorageUnavailableError):
            await storage.writer.probe()
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        assert "ValueError: a bug" in caplog.text

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    async def test_an_unforeseen_failure_refuses_all_writes(
        self, storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        """Those of the batch, those that are queued and later ones."""
        storage.gate.close()
        first = asyncio.create_task(storage.submit())
        await storage.gate.entered()
        queued = [asyncio.create_task(storage.submit()) for _ in range(3)]
        await asyncio.sleep(0)

        def fail() -> None:
            raise error

        monkeypatch.setattr(storage.gate, "pass_through", fail)
        storage.gate.open()
        assert (await first).sequence == 1
        refused = await asyncio.wait_for(asyncio.gather(*queued, return_exceptions=True), WAIT_SECONDS)
        assert [type(outcome) for outcome in refused] == [StorageUnavailableError] * 3
        with pytest.raises(StorageUnavailableError):
            await submit_at_once(storage)
        assert storage.writer.queued == 0
        with pytest.raises(WriterFailedError):
            await storage.writer.ended

    async def test_a_bug_while_a_batch_is_taken_refuses_it(
        self, storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the thread had taken from the queue is answered, too."""

        class Broken:
            def __eq__(self, _other: object) -> bool:
                raise ValueError("a bug")

            __hash__ = None  # type: ignore[assignment]

        monkeypatch.setattr(write_queue, "MAX_BATCH_OPERATIONS", Broken())
        with pytest.raises(StorageUnavailableError):
            await submit_at_once(storage)

    async def test_a_closed_writer_queues_nothing(self, storage: OpenedStorage) -> None:
        """A write after `close` is refused at once, and `ended` is done without an error."""
        await storage.writer.close()
        with pytest.raises(StorageUnavailableError):
            await submit_at_once(storage)
        assert storage.writer.queued == 0
        await asyncio.wait_for(storage.writer.ended, WAIT_SECONDS)
        with pytest.raises(StorageUnavailableError):
            await storage.writer.probe()


class TestSeveralLoops:
    async def test_each_caller_is_answered_on_its_own_loop(self, storage: OpenedStorage) -> None:
        """Threads with event loops of their own share one writer, and its count of writes does not drift."""

        async def submit_one_by_one(number: int) -> list[int]:
            return [(await storage.submit(mentor_id=f"mntr_{number}")).sequence for _ in range(25)]

        async def submit_all() -> list[int]:
            return list(chain.from_iterable(await asyncio.gather(*map(submit_one_by_one, range(4)))))

        others = [asyncio.to_thread(asyncio.run, submit_all()) for _ in range(3)]
        sequences = chain.from_iterable(await asyncio.gather(submit_all(), *others))
        assert sorted(sequences) == list(range(1, 401))
        assert storage.writer.queued == 0

    async def test_a_closed_loop_does_not_affect_the_others(self, storage: OpenedStorage) -> None:
        """The other callers of the batch get their answers."""

        async def leave_without_the_answer() -> None:
            # Without a task, which asyncio would miss.
            storage.writer._queue.add(SubmitOperation(MENTOR_ID, EventType.PAUSE, "", None, None))  # noqa: SLF001
            await storage.gate.entered()

        storage.gate.close()
        loop = asyncio.new_event_loop()
        await asyncio.to_thread(loop.run_until_complete, leave_without_the_answer())
        loop.close()
        stays = asyncio.create_task(storage.submit())
        await asyncio.sleep(0)
        storage.gate.open()
        assert (await asyncio.wait_for(stays, WAIT_SECONDS)).sequence == 2


class UnreliableStore(WrappedStore):
    """A store whose transactions fail while `is_down`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.is_down = True
        self._transact = self.transact
        self.transact = self._transact_if_up

    def _transact_if_up(self, operations: Sequence[Operation]) -> Commit:
        if self.is_down:
            raise StorageUnavailableError("connection refused")
        return self._transact(operations)


class TestAvailability:
    async def test_an_outage_is_logged_where_it_begins_and_ends(
        self, storage: OpenedStorage, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once each, however many writes fail between."""
        store = UnreliableStore(storage.engine)
        await replace_writer(storage, lambda: store)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                with pytest.raises(StorageUnavailableError):
                    await storage.submit()
            store.is_down = False
            for _ in range(3):
                await storage.submit()
        assert caplog.messages == [
            "storage is unavailable, writes fail: connection refused",
            "storage is available again, writes succeed",
        ]

    async def test_a_probe_fails_from_a_failed_write_until_writes_work_again(
        self, storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writer finds that out without a caller's write, and no transaction is counted for it."""
        monkeypatch.setattr(writer, "IDLE_SECONDS", 0.001)
        announced: list[Commit] = []
        store = UnreliableStore(storage.engine)
        await replace_writer(storage, lambda: store, announced.append)
        await storage.writer.probe()
        with pytest.raises(StorageUnavailableError):
            await storage.submit()
        with pytest.raises(StorageUnavailableError):
            await storage.writer.probe()
        store.is_down = False
        async with asyncio.timeout(WAIT_SECONDS):
            while not await works(storage.writer.probe()):
                await asyncio.sleep(POLL_SECONDS)
        assert not announced
        assert (await storage.submit()).sequence == 1

    async def test_a_probe_fails_while_a_transaction_hangs(
        self, storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From the time on at which its callers are answered with an error."""
        storage.gate.close()
        hanging = asyncio.create_task(storage.submit())
        await storage.gate.entered()
        await storage.writer.probe()
        monkeypatch.setattr(writer, "ANSWER_SECONDS", 0)
        with pytest.raises(StorageUnavailableError, match="has taken more than"):
            await storage.writer.probe()
        storage.gate.open()
        await hanging
        await storage.announced()
        async with asyncio.timeout(WAIT_SECONDS):
            while not await works(storage.writer.probe()):
                await asyncio.sleep(POLL_SECONDS)


async def works(probe: Coroutine[Any, Any, None]) -> bool:
    try:
        await probe
    except StorageUnavailableError:
        return False
    return True


async def test_a_write_that_takes_too_long_is_given_up(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller gets an error before the gateway gives up; a write that had begun is found when it is repeated."""
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
