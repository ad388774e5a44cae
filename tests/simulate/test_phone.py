"""The phone that docs/phones.md explains, without a service."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from inspect import getsource
from pathlib import Path
from textwrap import indent

import pytest
from mentorsync.simulate import phone as phone_module
from mentorsync.simulate import view as view_module
from mentorsync.simulate.phone import Answer, Phone, Tap, UnreachableError
from mentorsync.simulate.view import FeedEvent, View, follow

PAGE = Path(__file__).parents[2] / "docs" / "phones.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOW = datetime(2026, 3, 26, 9, 15, tzinfo=UTC)


class Script:
    """A network that answers as written: a status, or None for no answer."""

    def __init__(self, *statuses: int | None, retry_after: float = 0) -> None:
        self.taps: list[Tap] = []
        self._statuses: Iterator[int | None] = iter(statuses)
        self._retry_after = retry_after

    async def submit(self, tap: Tap) -> Answer:
        self.taps.append(tap)
        status = next(self._statuses)
        if status is None:
            raise UnreachableError("no answer")
        return Answer(status, b'{"accepted": false}', self._retry_after, NOW)


def phone_on(network: Script, clock_error: timedelta = timedelta(0)) -> tuple[Phone, list[str], list[str]]:
    answered: list[str] = []
    dropped: list[str] = []
    phone = Phone(
        "mntr_1",
        network,
        lambda: NOW + clock_error,
        lambda tap, _answer: answered.append(tap.key),
        lambda tap, _answer: dropped.append(tap.key),
    )
    return phone, answered, dropped


async def test_a_tap_keeps_its_key_and_its_place_until_it_is_answered() -> None:
    """Lost answers and a 503: the same request again, and the second tap only after the first."""
    network = Script(None, 503, 200, 200)
    phone, answered, dropped = phone_on(network)
    first, second = phone.tap("PauseMentorEvent"), phone.tap("ResumeMentorEvent")
    for _ in range(4):
        await phone.send_first()
    assert network.taps == [first, first, first, second]
    assert (answered, dropped) == ([first.key, second.key], [])


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_what_can_never_succeed_leaves_the_queue(status: int) -> None:
    """Otherwise it would block every later tap for ever."""
    phone, answered, dropped = phone_on(Script(status))
    tap = phone.tap("PauseMentorEvent")
    assert await phone.send_first() is None
    assert (answered, dropped, list(phone.queue)) == ([], [tap.key], [])


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503, 504])
async def test_what_may_succeed_later_stays_in_the_queue(status: int) -> None:
    """The phone pauses before it sends the tap again."""
    phone, _, _ = phone_on(Script(status))
    tap = phone.tap("PauseMentorEvent")
    assert await phone.send_first() is not None
    assert list(phone.queue) == [tap]


async def test_a_further_tap_ends_a_pause_but_not_the_wait_that_the_service_asked_for() -> None:
    """Otherwise a user who taps again and again would send during Retry-After."""
    for script, sent in ((Script(None, 200, 200), 3), (Script(429, 200, 200, retry_after=3600), 1)):
        phone, _, _ = phone_on(script)
        sending = asyncio.create_task(phone.send_forever())
        for _ in range(2):
            phone.tap("PauseMentorEvent")
            await turns_of_the_loop()
        assert len(script.taps) == sent
        sending.cancel()


async def turns_of_the_loop() -> None:
    """Lets all tasks run that do not wait for a time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_pauses_grow_up_to_a_limit() -> None:
    """A phone that is offline for hours neither floods nor stays away."""
    phone, _, _ = phone_on(Script(*[None] * 12))
    phone.tap("PauseMentorEvent")
    pauses = [await phone.send_first() or 0 for _ in range(12)]
    assert pauses[0] <= 0.25
    assert 5 <= pauses[-1] <= 10


@pytest.mark.parametrize(("hours", "advises"), [(-1, True), (0, False), (1, False)])
async def test_only_a_slow_clock_needs_advice(hours: int, advises: bool) -> None:
    """A fast clock counts as now."""
    phone, _, _ = phone_on(Script(200), timedelta(hours=hours))
    phone.tap("PauseMentorEvent")
    await phone.send_first()
    assert phone.needs_clock_advice is advises


def test_a_view_takes_the_status_from_the_change_and_not_from_its_event() -> None:
    """An acknowledgement of an old event must not set the status back."""
    view = View()
    event = {"sync_event_id": "evt_1", "mentor_id": "mntr_1", "resulting_status": "paused"}
    view.apply(FeedEvent("snapshot", {"mentor_id": "mntr_1", "status": "active", "pending_events": [event]}, ""))
    assert list(view.pending) == ["evt_1"]
    change = {"event": event, "pending": False, "deleted": False, "mentor_status": "active"}
    view.apply(FeedEvent("change", change, "c1"))
    assert (view.status, view.pending, view.cursor) == ("active", {}, "c1")


def test_a_heartbeat_moves_the_cursor_and_a_reset_forgets_it() -> None:
    """After a reset, the present state comes again."""
    view = View()
    view.apply(FeedEvent("heartbeat", None, "c2"))
    kept: str | None = view.cursor
    assert kept == "c2"
    view.apply(FeedEvent("reset", {"reason": "EXPIRED"}, ""))
    after = (view.cursor, view.resets)
    assert after == (None, 1)


def test_a_reset_forgets_a_mentor_that_the_service_no_longer_knows() -> None:
    """After a restore of an older database, no snapshot of the mentor may follow."""
    view = View()
    event = {"sync_event_id": "evt_1", "mentor_id": "mntr_1", "resulting_status": "paused"}
    view.apply(FeedEvent("snapshot", {"mentor_id": "mntr_1", "status": "paused", "pending_events": [event]}, ""))
    view.apply(FeedEvent("reset", {"reason": "FOREIGN"}, ""))
    view.apply(FeedEvent("current", {}, "c1"))
    assert (view.status, view.pending, view.cursor) == (None, {}, "c1")


class LostStreams:
    """A feed whose streams give some events, and are then lost. After the last one it fails."""

    def __init__(self, *streams: list[FeedEvent]) -> None:
        self.cursors: list[str | None] = []
        self._streams = list(streams)

    async def watch(self, mentor_id: str | None, cursor: str | None) -> AsyncIterator[FeedEvent]:
        self.cursors.append(cursor)
        yield FeedEvent("retry", 0, "")
        for event in self._streams.pop(0):
            yield event
        raise UnreachableError(f"lost the feed of {mentor_id}")


async def test_a_stream_without_a_cursor_replaces_what_an_earlier_one_left() -> None:
    """The connection was lost before `current`, and no snapshot follows: the service no longer knows the mentor."""
    event = {"sync_event_id": "evt_1", "mentor_id": "mntr_1", "resulting_status": "paused"}
    snapshot = {"mentor_id": "mntr_1", "status": "paused", "pending_events": [event]}
    feed = LostStreams([FeedEvent("snapshot", snapshot, "")], [FeedEvent("current", {}, "c1")])
    view = View()
    with pytest.raises(IndexError):
        await follow(feed, view, "mntr_1")
    assert feed.cursors == [None, None, "c1"]
    assert (view.status, view.pending, view.resets) == (None, {}, 0)


def test_the_page_shows_the_source() -> None:
    """Every piece of Python in docs/phones.md is in the modules that it explains."""
    source = "".join(getsource(module) for module in (phone_module, view_module))
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 5
    for block in blocks:
        assert block in source or indent(block, "    ") in source
