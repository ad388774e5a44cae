"""Stored times never run backwards, and a clock that does is logged."""

import logging

import pytest
from mentorsync.domain.status import EventType

from tests.storage.opened import START, OpenedStorage


async def test_times_stay_the_same_while_the_clock_catches_up(storage: OpenedStorage) -> None:
    """After a step back, new times equal the last one stored until the clock has passed it."""
    storage.clock.seconds = 100
    event = await storage.submit()
    storage.clock.seconds = 50
    assert (await storage.submit(EventType.RESUME)).server_timestamp == event.server_timestamp
    assert (await storage.delete(event)).deleted_at == event.server_timestamp
    storage.clock.seconds = 101
    assert (await storage.submit()).server_timestamp == START + 101_000_000


@pytest.mark.parametrize("hours", [5, -5])
async def test_a_clock_that_steps_by_hours_loses_no_tap(storage: OpenedStorage, hours: int) -> None:
    """Before, after, and once the clock is right again, a tap without a time of its own decides the status."""
    for number, seconds in enumerate((0, hours * 3_600, 10), start=1):
        storage.clock.seconds = seconds
        event = await storage.submit(EventType.RESUME if number % 2 else EventType.PAUSE)
        assert event.accepted
        assert event.sequence == number


async def test_a_clock_far_behind_is_logged_once_and_exposed(
    storage: OpenedStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """More than 60 s: one warning until the clock is right again, and a value for the metrics."""
    storage.clock.seconds = 1_000
    await storage.submit()
    await storage.announced()
    assert storage.writer.clock_ahead_seconds == 0
    with caplog.at_level(logging.WARNING):
        storage.clock.seconds = 940
        await storage.submit()
        await storage.announced()
        assert storage.writer.clock_ahead_seconds == 60
        assert not caplog.records
        storage.clock.seconds = 930
        await storage.submit()
        await storage.submit()
        await storage.announced()
        assert storage.writer.clock_ahead_seconds == 70
        assert len(caplog.records) == 1
        assert "70 s ahead of the clock" in caplog.text
        storage.clock.seconds = 1_001
        await storage.submit()
        await storage.announced()
        assert storage.writer.clock_ahead_seconds == 0
        storage.clock.seconds = 900
        await storage.submit()
        await storage.announced()
        assert len(caplog.records) == 2
