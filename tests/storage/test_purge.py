"""Purge removes records that are no longer needed, and no others."""

import asyncio

import pytest
from mentorsync.domain.errors import EventNotFoundError
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage import purge as purge_module
from mentorsync.storage.purge import purge

from tests.storage.opened import MENTOR_ID, OpenedStorage

PAUSE, RESUME, DEACTIVATE, ACTIVATE = EventType
DAY = 86_400


def ignore_progress(_reached: int, _last: int, _removed: int) -> None:
    return


def purged(storage: OpenedStorage, older_than_seconds: float) -> int:
    return purge(storage.engine, older_than_seconds, ignore_progress)


async def test_old_tombstones_acknowledged_and_losing_events_go(storage: OpenedStorage) -> None:
    """Pending events stay, however old."""
    pending = await storage.submit()
    acknowledged = await storage.update(await storage.submit(), acknowledged=True)
    deleted = await storage.delete(await storage.submit())
    loser = await storage.submit(RESUME, client_timestamp=0)
    storage.clock.seconds = 31 * DAY
    assert purged(storage, 30 * DAY) == 3
    assert await storage.pending_ids() == [pending.sync_event_id]
    for event in (acknowledged, deleted, loser):
        with pytest.raises(EventNotFoundError):
            await storage.delete(event)


async def test_age_counts_from_the_last_change(storage: OpenedStorage) -> None:
    """An old event that was deleted or acknowledged just now may still be repeated for a while."""
    deleted, acknowledged = await storage.submit_many(2)
    storage.clock.seconds = 31 * DAY
    await storage.delete(deleted)
    await storage.update(acknowledged, acknowledged=True)
    assert purged(storage, 30 * DAY) == 0
    storage.clock.seconds = 62 * DAY
    assert purged(storage, 30 * DAY) == 2


async def test_an_event_of_exactly_the_given_age_stays(storage: OpenedStorage) -> None:
    """Only what is older goes."""
    await storage.delete(await storage.submit())
    storage.clock.seconds = DAY
    assert purged(storage, DAY) == 0
    storage.clock.seconds = DAY + 0.000001
    assert purged(storage, DAY) == 1


async def test_an_age_beyond_all_time_removes_nothing(storage: OpenedStorage) -> None:
    """A very large age is no error."""
    await storage.delete(await storage.submit())
    assert purged(storage, 10**15 * DAY) == 0


async def test_purging_changes_neither_status_nor_what_is_stale(storage: OpenedStorage) -> None:
    """Status, last_updated and the effective time live with the mentor."""
    await storage.delete(await storage.submit(DEACTIVATE))
    before = await storage.reader.snapshot(MENTOR_ID)
    storage.clock.seconds = 10
    assert purged(storage, 0) == 1
    assert await storage.reader.snapshot(MENTOR_ID) == before
    assert before.status is MentorStatus.INACTIVE
    assert not (await storage.submit(ACTIVATE, client_timestamp=0)).accepted


async def test_a_purged_key_is_recognised_no_longer(storage: OpenedStorage) -> None:
    """Before the purge the submit returns the first answer again; after it, it makes a new event."""
    event = await storage.submit(key="k")
    await storage.delete(event)
    storage.clock.seconds = 10
    assert (await storage.submit(key="k")).sync_event_id == event.sync_event_id
    assert purged(storage, 0) == 1
    again = await storage.submit(key="k")
    assert again.sync_event_id != event.sync_event_id
    assert again.sequence == 3


async def test_purge_walks_the_log_in_windows_and_reports_its_progress(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress ends at the last old event; younger ones are not read."""
    monkeypatch.setattr(purge_module, "WINDOW_EVENTS", 3)
    old = await storage.submit_many(7)
    for event in old[1:]:
        await storage.delete(event)
    storage.clock.seconds = 10
    young = await storage.submit_many(5)
    storage.clock.seconds = 12
    progress: list[tuple[int, int, int]] = []
    assert purge(storage.engine, 5, lambda *step: progress.append(step)) == 6
    last = young[-1].sequence
    assert progress == [(3, last, 2), (6, last, 5), (7, last, 6)]


async def test_purging_an_empty_log_removes_nothing(storage: OpenedStorage) -> None:
    """There is nothing to report."""
    assert purged(storage, 0) == 0


async def test_purging_while_others_write_loses_nothing(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes go on between the small transactions, and every total stays exact."""
    monkeypatch.setattr(purge_module, "WINDOW_EVENTS", 20)
    for event in await storage.submit_many(300):
        await storage.delete(event)
    storage.clock.seconds = 10
    written = [await storage.submit()]

    async def write() -> None:
        while not purging.done():
            written.append(await storage.submit())
            await asyncio.sleep(0)

    purging = asyncio.create_task(asyncio.to_thread(_purged_and_closed, storage))
    await asyncio.gather(purging, write())
    assert purging.result() == 300
    assert len(written) > 1
    assert await storage.pending_ids() == [event.sync_event_id for event in written]


def _purged_and_closed(storage: OpenedStorage) -> int:
    """Runs as the command does: on its own thread's connection."""
    try:
        return purged(storage, 0)
    finally:
        storage.engine.database.close()
