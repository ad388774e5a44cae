"""Pages and snapshots."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage import reader
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError
from mentorsync.storage.reader import Page, PublishedEvent, Snapshot
from mentorsync.storage.rows import Row
from mentorsync.time_limits import ANSWER_SECONDS

from tests.storage.opened import MENTOR_ID, START, WAIT_SECONDS, OpenedStorage, ids_of

PAUSE, RESUME, DEACTIVATE, ACTIVATE = EventType


async def test_an_empty_log_has_an_empty_page(storage: OpenedStorage) -> None:
    """Nothing pending: no events, total 0."""
    assert await storage.reader.page(1, 20, None) == Page([], 0)


async def test_an_unknown_mentor_has_an_empty_page_and_no_snapshot(storage: OpenedStorage) -> None:
    """The filter finds nothing; the snapshot is an error."""
    await storage.submit()
    assert await storage.reader.page(1, 20, "mntr_unknown") == Page([], 0)
    with pytest.raises(MentorNotFoundError):
        await storage.reader.snapshot("mntr_unknown")


async def test_a_pending_event_is_published_whole(storage: OpenedStorage) -> None:
    """Lists and snapshots show the same item."""
    event = await storage.submit()
    item = PublishedEvent(event.sync_event_id, MENTOR_ID, PAUSE, MentorStatus.PAUSED, START)
    assert await storage.reader.page(1, 20, None) == Page([item], 1)
    assert await storage.reader.page(1, 20, MENTOR_ID) == Page([item], 1)
    assert await storage.reader.snapshot(MENTOR_ID) == Snapshot(MENTOR_ID, MentorStatus.PAUSED, START, [item])


async def test_pages_are_oldest_first_and_disjoint(storage: OpenedStorage) -> None:
    """Pages together give every pending event once, in the order of the log; the last one may be short."""
    events = await storage.submit_many(7)
    pages = [await storage.reader.page(page, 3, None) for page in (1, 2, 3)]
    assert [len(page.events) for page in pages] == [3, 3, 1]
    assert [sync_event_id for page in pages for sync_event_id in ids_of(page.events)] == [
        e.sync_event_id for e in events
    ]
    assert {page.total for page in pages} == {7}


@pytest.mark.parametrize("mentor_id", [None, MENTOR_ID])
@pytest.mark.parametrize("page", [2, 4, 100, 2**31 - 1])
async def test_a_page_past_the_end_is_empty_with_the_true_total(
    storage: OpenedStorage, page: int, mentor_id: str | None
) -> None:
    """However far past, also just past a full last page."""
    await storage.submit_many(100)
    assert await storage.reader.page(page, 100, mentor_id) == Page([], 100)


async def test_only_pending_events_are_listed(storage: OpenedStorage) -> None:
    """Losing, acknowledged and deleted events are not; un-acknowledged ones are again, in their old place."""
    first, second, third = await storage.submit_many(3)
    await storage.submit(RESUME, client_timestamp=0)
    await storage.update(first, acknowledged=True)
    await storage.delete(second)
    assert await storage.pending_ids() == [third.sync_event_id]
    assert await storage.pending_ids(MENTOR_ID) == [third.sync_event_id]
    await storage.update(first, acknowledged=False)
    assert await storage.pending_ids() == [first.sync_event_id, third.sync_event_id]
    snapshot = await storage.reader.snapshot(MENTOR_ID)
    assert ids_of(snapshot.pending_events) == [first.sync_event_id, third.sync_event_id]


async def test_a_mentors_page_counts_the_mentors_events(storage: OpenedStorage) -> None:
    """The filter's total is the mentor's own."""
    await storage.submit_many(3, "mntr_one")
    (event,) = await storage.submit_many(1, "mntr_two")
    page = await storage.reader.page(1, 20, "mntr_two")
    assert (ids_of(page.events), page.total) == ([event.sync_event_id], 1)


async def test_a_snapshot_holds_the_oldest_100(storage: OpenedStorage) -> None:
    """More pending events than that are left to the list."""
    events = await storage.submit_many(101)
    snapshot = await storage.reader.snapshot(MENTOR_ID)
    assert ids_of(snapshot.pending_events) == [e.sync_event_id for e in events[:100]]


async def test_a_mentor_without_pending_events_has_a_snapshot(storage: OpenedStorage) -> None:
    """Status and last_updated stay when nothing is pending any more."""
    await storage.delete(await storage.submit())
    assert await storage.reader.snapshot(MENTOR_ID) == Snapshot(MENTOR_ID, MentorStatus.PAUSED, START, [])


@pytest.mark.parametrize("mentor_id", [None, MENTOR_ID])
async def test_deep_pages_are_read_off_the_event_loop(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch, mentor_id: str | None
) -> None:
    """While the query of a deep page runs, the loop runs on, and other reads are answered."""
    events = await storage.submit_many(6)
    expected = await storage.reader.page(2, 3, mentor_id)
    monkeypatch.setattr(reader, "DEEP_OFFSET", 3)
    query = storage.reader._query  # noqa: SLF001 - the only place that sees a statement
    is_released = threading.Event()

    def wait_if_deep(sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        if 3 in parameters:  # the limit, and the offset, of the deep page
            assert is_released.wait(WAIT_SECONDS), "the event loop is blocked"
        return query(sql, parameters)

    monkeypatch.setattr(storage.reader, "_query", wait_if_deep)
    deep = asyncio.create_task(storage.reader.page(2, 3, mentor_id))
    await asyncio.sleep(0)
    first_page = await storage.reader.page(1, 2, mentor_id)
    assert not deep.done()
    is_released.set()
    assert await deep == expected
    read = [*first_page.events, *expected.events]
    assert ids_of(read) == [event.sync_event_id for event in events[:2] + events[3:]]


class HeldQueries:
    """Holds every query of a reader until `release`. `count` is the number that has begun."""

    def __init__(self, storage: OpenedStorage) -> None:
        self._query = storage.reader._query  # noqa: SLF001 - the only place that sees a query
        self._released = threading.Event()
        self.release = self._released.set
        self.count = 0

    def __call__(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        self.count += 1
        assert self._released.wait(WAIT_SECONDS)
        return self._query(sql, parameters)


@pytest.fixture
def held_queries(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldQueries]:
    """All pages are deep pages, and their queries wait."""
    monkeypatch.setattr(reader, "DEEP_OFFSET", 0)
    held = HeldQueries(storage)
    monkeypatch.setattr(storage.reader, "_query", held)
    yield held
    held.release()


async def test_too_many_reads_at_once_are_refused(storage: OpenedStorage) -> None:
    """As overload. The others are answered, health probes too, and then there is room again."""
    await storage.submit()
    pages = [storage.reader.page(1, 1, None) for _ in range(reader.MAX_READS - 1)]
    snapshots = [storage.reader.snapshot(MENTOR_ID) for _ in range(3)]
    *answers, _ = await asyncio.gather(*pages, *snapshots, storage.reader.probe(), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [type(error) for error in refused] == [OverloadedError] * 2
    assert answers[-2:] == refused
    await asyncio.gather(*(storage.reader.page(1, 1, None) for _ in range(reader.MAX_READS)))


async def test_too_many_deep_pages_are_refused_at_once(storage: OpenedStorage, held_queries: HeldQueries) -> None:
    """As overload, not as an outage; those that wait are answered, and then there is room again."""
    waiting = [asyncio.create_task(storage.reader.page(1, 1, None)) for _ in range(reader.MAX_DEEP_READS)]
    await asyncio.sleep(0)
    async with asyncio.timeout(ANSWER_SECONDS / 2):
        with pytest.raises(OverloadedError):
            await storage.reader.page(1, 1, None)
    held_queries.release()
    assert await asyncio.gather(*waiting) == [Page([], 0)] * reader.MAX_DEEP_READS
    assert await storage.reader.page(1, 1, None) == Page([], 0)


@pytest.mark.parametrize("leaves", [True, False])
async def test_deep_pages_that_were_given_up_are_dropped_from_the_queue(
    storage: OpenedStorage, held_queries: HeldQueries, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    """Whether the caller left or the time was up: they take no place any more, and their queries never run."""
    if not leaves:
        monkeypatch.setattr(reader, "ANSWER_SECONDS", 0.01)
    given_up = [asyncio.create_task(storage.reader.page(1, 1, None)) for _ in range(reader.MAX_DEEP_READS)]
    await asyncio.sleep(0)
    if leaves:
        for task in given_up:
            task.cancel()
    outcomes = await asyncio.gather(*given_up, return_exceptions=True)
    expected = asyncio.CancelledError if leaves else StorageUnavailableError
    assert {type(outcome) for outcome in outcomes} == {expected}
    monkeypatch.setattr(reader, "ANSWER_SECONDS", WAIT_SECONDS)
    held_queries.release()
    assert await storage.reader.page(1, 1, None) == Page([], 0)
    assert held_queries.count == 2  # the one that ran already, and the last one


async def test_reads_of_several_loops_share_a_reader(storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads with event loops of their own get their pages, deep ones too, and no place stays taken."""
    monkeypatch.setattr(reader, "DEEP_OFFSET", 1)
    await storage.submit_many(3)

    async def read() -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            pages = [await storage.reader.page(page, 1, None) for page in (1, 2, 3) for _ in range(10)]
        storage.engine.database.close()
        return sum(len(page.events) for page in pages)

    assert await asyncio.gather(*(asyncio.to_thread(asyncio.run, read()) for _ in range(4))) == [30] * 4
    slots = storage.reader._deep_slots  # noqa: SLF001
    assert [slots.acquire(blocking=False) for _ in range(reader.MAX_DEEP_READS)] == [True] * reader.MAX_DEEP_READS


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 11, 100])
@pytest.mark.parametrize("known_total", [0, 10, 1_000])
async def test_a_page_is_the_same_from_either_end(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch, limit: int, known_total: int
) -> None:
    """Deep pages are read from the nearer end, whatever estimate of the total the reader has."""
    monkeypatch.setattr(reader, "DEEP_OFFSET", 0)
    events = await storage.submit_many(12)
    await storage.update(events[4], acknowledged=True)
    await storage.delete(events[11])
    pending = [event.sync_event_id for event in events[:4] + events[5:11]]
    for page in range(1, 14):
        storage.reader._latest_total = known_total  # noqa: SLF001 - what it read last
        result = await storage.reader.page(page, limit, None)
        assert ids_of(result.events) == pending[(page - 1) * limit : page * limit]
        assert result.total == 10


async def test_the_last_page_of_many_is_read_from_the_end(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cost does not grow with what lies before it."""
    monkeypatch.setattr(reader, "DEEP_OFFSET", 4)
    await storage.submit_many(10)
    read: list[str] = []
    query = storage.reader._query  # noqa: SLF001 - the only place that sees a statement

    def noting(sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        read.append(sql)
        return query(sql, parameters)

    monkeypatch.setattr(storage.reader, "_query", noting)
    statements = storage.reader._statements  # noqa: SLF001
    for page in (1, 5, 3):
        await storage.reader.page(page, 2, None)
    assert read == [statements.filled_page, statements.page_from_end, statements.page]


async def test_a_snapshot_is_of_one_moment(storage: OpenedStorage) -> None:
    """While the status changes, the newest pending event always leads to the snapshot's status."""
    await storage.submit()

    async def change() -> None:
        for number in range(60):
            await storage.submit(RESUME if number % 2 else PAUSE)
            storage.clock.seconds += 1

    changing = asyncio.create_task(change())
    while not changing.done():
        snapshot = await storage.reader.snapshot(MENTOR_ID)
        newest = PublishedEvent._make(snapshot.pending_events[-1])
        assert (newest.resulting_status, newest.server_timestamp) == (snapshot.status, snapshot.last_updated)
        await asyncio.sleep(0)
    await changing


async def test_a_probe_succeeds_while_reads_work(storage: OpenedStorage) -> None:
    """Its failures are tested for each engine."""
    await storage.reader.probe()
