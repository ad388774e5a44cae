"""Streams of the feed over a log in memory, at the moments that are hard to meet from outside."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync import time_limits
from mentorsync.domain.records import LogHead
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.feed import feed as feed_module
from mentorsync.feed import slots as slots_module
from mentorsync.feed import stream as stream_module
from mentorsync.feed import subscribers as subscribers_module
from mentorsync.feed import tail as tail_module
from mentorsync.feed.cursor import Cursor, filter_hash
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.ends import End
from mentorsync.feed.feed import Feed
from mentorsync.feed.formats import Messages, ServerSentEvents
from mentorsync.feed.metrics import FeedCollector
from mentorsync.feed.pauses import Pauses
from mentorsync.feed.request import FeedRequest
from mentorsync.feed.slots import Slots, TooManyStreamsError
from mentorsync.feed.stream import Stream
from mentorsync.feed.subscriber import Subscriber
from mentorsync.storage.change_reader import Changes, EventChange, LogPosition
from mentorsync.storage.reader import Snapshot

Response = pb.WatchSyncEventsResponse
WAIT_SECONDS = 5


class Log:
    """The database: each write adds an event. `hold` makes the next reads wait until it is set."""

    def __init__(self) -> None:
        self.epoch = 7
        self.purged = 0
        self.changes: list[EventChange] = []
        self.reads = 0
        self.snapshot_reads = 0
        self.reads_of_pending = 0
        self.hold: asyncio.Event | None = None

    def write(self, mentor_id: str = "mntr_1") -> int:
        revision = len(self.changes) + 1
        pause, paused = EventType.PAUSE, MentorStatus.PAUSED
        row: Any = (revision, revision, f"evt_{revision}", mentor_id, pause, paused, 0, False, True, False, 0, paused)
        self.changes.append(EventChange(*row))
        return revision

    async def position(self) -> LogPosition:
        self.reads += 1
        return LogPosition(self.epoch, len(self.changes), self.purged)

    async def changes_after(self, revision: int, limit: int) -> Changes:
        position = await self.position()
        found = [change for change in self.changes if change.revision > max(revision, self.purged)][:limit]
        if self.hold is not None:
            await self.hold.wait()
        return Changes(position, found)

    async def snapshots(self, mentor_ids: Sequence[str]) -> tuple[LogPosition, list[Snapshot]]:
        self.snapshot_reads += 1
        if self.hold is not None:
            await self.hold.wait()
        known = {change.mentor_id for change in self.changes}
        snapshots = [Snapshot(one, MentorStatus.PAUSED, 0, []) for one in mentor_ids if one in known]
        return await self.position(), snapshots

    async def pending_after(
        self, sequence: int, limit: int, mentor_id: str | None = None
    ) -> tuple[LogPosition, list[EventChange]]:
        position = await self.position()
        self.reads_of_pending += 1
        pending = [one for one in self.changes if one.sequence > sequence and mentor_id in (None, one.mentor_id)]
        if self.hold is not None:
            await self.hold.wait()
        return position, pending[:limit]


class Harness:
    def __init__(self, log: Log, pause_seconds: float = 0.001) -> None:
        self.log = log
        reader: Any = log
        pauses = Pauses(pause_seconds, pause_seconds, pause_seconds)
        self.feed = Feed(reader, self.renew, pauses, Slots(100), lambda _seconds: None)

    @classmethod
    @asynccontextmanager
    async def running(cls, **settings: float) -> AsyncIterator["Harness"]:
        harness = cls(Log(), **settings)
        task = asyncio.ensure_future(harness.feed.follow())
        yield harness
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def commit(self, mentor_id: str = "mntr_1") -> int:
        """A write of this process, which hands it to the feed."""
        revision = self.log.write(mentor_id)
        head = LogHead(revision, 0, 0)
        commit: Any = SimpleNamespace(first_revision=revision, head=head, changes=self.log.changes[-1:])
        self.feed.on_commit(commit)
        return revision

    async def renew(self, seen: int) -> None:
        if self.log.epoch == seen:
            self.log.epoch += 1

    @asynccontextmanager
    async def stream(
        self, *mentor_ids: str, cursor: Cursor | None = None, changes_only: bool = False, seconds: float = 60
    ) -> AsyncIterator["Received"]:
        received = Received()
        request = FeedRequest(frozenset(mentor_ids), cursor, changes_only, seconds)
        received.task = asyncio.ensure_future(self.feed.stream(request, Messages(), "here", received.take))
        try:
            yield received
        finally:
            received.task.cancel()
            await asyncio.gather(received.task, return_exceptions=True)


class Received:
    """What a stream sent. `reading` is cleared while the receiver does not read, and `has_left` set when it is gone."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Response] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.has_left = False
        self.task: asyncio.Future[End]

    async def take(self, message: bytes) -> None:
        if self.has_left:
            raise OSError
        self._messages.put_nowait(Response.FromString(message))
        await self.reading.wait()

    async def next(self) -> Response:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._messages.get()

    async def until_event(self, number: int) -> list[int]:
        """The numbers of the events of all changes, up to this one."""
        numbers: list[int] = []
        while number not in numbers:
            message = await self.next()
            if message.kind == Response.CHANGES:
                numbers += [int(change.event.sync_event_id[4:]) for change in message.changes]
                assert Cursor.parse(message.cursor).revision >= numbers[-1]
            elif message.cursor:
                assert Cursor.parse(message.cursor).revision <= (numbers[-1] if numbers else 10**9)
        return numbers


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness.running() as harness:
        yield harness


async def loop_turns(count: int) -> None:
    """Lets the event loop run everything that is ready, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0)


async def kinds(received: Received, count: int) -> list[str]:
    return [Response.Kind.Name((await received.next()).kind) for _ in range(count)]


async def test_nothing_is_read_while_nobody_watches(harness: Harness) -> None:
    """Not before the first stream, and not after the last one."""
    async with harness.stream() as received:
        await received.next()
        assert harness.log.reads
    reads = harness.log.reads
    harness.log.write()
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert harness.log.reads <= reads + 2  # the read that had begun
    assert harness.feed.tail.ring is None


async def test_a_change_after_the_present_state_and_before_current_is_not_lost(harness: Harness) -> None:
    """The receiver takes the present state slowly; a change is committed meanwhile."""
    for _ in range(150):
        harness.log.write()
    async with harness.stream() as received:
        received.reading.clear()
        first = await received.next()
        assert first.kind == Response.PRESENT
        late = harness.commit()
        await until(lambda: harness.feed.subscribers[0].end == late)
        received.reading.set()
        assert (await received.until_event(late))[-1] == late


async def test_streams_that_begin_together_share_the_reads_of_the_present_state(harness: Harness) -> None:
    """Each gets all of it."""
    for _ in range(150):
        harness.log.write()
    async with harness.stream(), AsyncExitStack() as stack:
        await until(lambda: harness.feed.tail.ring is not None)
        reads = harness.log.reads
        streams = [await stack.enter_async_context(harness.stream()) for _ in range(30)]
        for received in streams:
            pages = [await received.next() for _ in range(2)]
            assert [len(page.changes) for page in pages] == [100, 50]
            assert await kinds(received, 1) == ["CURRENT"]
        assert harness.log.reads - reads < len(streams)


async def test_few_streams_read_the_database_at_a_time(harness: Harness) -> None:
    """Also when thousands with mentors of their own begin: the read of the log's end must not wait for all of them."""
    harness.log.write()
    async with harness.stream() as first, AsyncExitStack() as stack:
        assert await kinds(first, 2) == ["PRESENT", "CURRENT"]
        harness.log.hold = asyncio.Event()
        streams = [await stack.enter_async_context(harness.stream("mntr_1")) for _ in range(10)]
        await loop_turns(50)
        assert harness.log.snapshot_reads == subscribers_module.CATCH_UPS
        harness.log.hold.set()
        for received in streams[:-1]:
            assert await kinds(received, 2) == ["SNAPSHOT", "CURRENT"]


async def test_a_stream_that_begins_during_a_read_has_what_was_written_before_it(harness: Harness) -> None:
    """Also in its present state, not only after it."""
    harness.log.write()
    async with harness.stream() as first:
        assert await kinds(first, 2) == ["PRESENT", "CURRENT"]
        harness.log.hold = asyncio.Event()
        reads = harness.log.reads_of_pending  # the feed itself reads the log now and then, too
        async with harness.stream() as second:
            await until(lambda: harness.log.reads_of_pending > reads)
            harness.commit()
            async with harness.stream() as third:
                await loop_turns(20)
                harness.log.hold.set()
                assert len((await second.next()).changes) == 1
                assert len((await third.next()).changes) == 2


async def test_who_falls_out_of_the_ring_reads_all_changes_from_the_database(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mentor: every change, once, in order."""
    monkeypatch.setattr(tail_module, "FIRST_CHANGES", 10)
    for _ in range(1_200):
        harness.log.write()
    start = Cursor(7, 100, filter_hash([]))
    async with harness.stream(cursor=start) as received:
        assert await received.until_event(1_200) == list(range(101, 1_201))


async def test_with_mentors_who_falls_out_gets_their_snapshots(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No RESET: a snapshot replaces all that the receiver has of the mentor."""
    monkeypatch.setattr(tail_module, "FIRST_CHANGES", 10)
    for _ in range(50):
        harness.log.write()
    async with harness.stream("mntr_1", "mntr_2", cursor=Cursor(7, 5, filter_hash(["mntr_1", "mntr_2"]))) as received:
        assert await kinds(received, 2) == ["SNAPSHOT", "CURRENT"]
        assert await received.until_event(harness.log.write("mntr_2")) == [51]


@pytest.mark.parametrize("first_changes", [10, 1_000])
@pytest.mark.parametrize(("purged", "kind"), [(5, "CHANGES"), (6, "RESET")])
async def test_a_cursor_expires_only_if_something_after_it_was_purged(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, purged: int, kind: str, first_changes: int
) -> None:
    """Exactly at the purged revision it does not. Nor does it matter how far back the memory goes."""
    monkeypatch.setattr(tail_module, "FIRST_CHANGES", first_changes)
    for _ in range(50):
        harness.log.write()
    harness.log.purged = purged
    async with harness.stream(cursor=Cursor(7, 5, filter_hash([]))) as received:
        assert await kinds(received, 1) == [kind]


async def test_a_cursor_from_the_future_waits_for_the_log(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that is behind gets there. What never comes is foreign."""
    harness.log.write()
    async with harness.stream() as current, harness.stream(cursor=Cursor(7, 2, filter_hash([]))) as received:
        assert await kinds(current, 2) == ["PRESENT", "CURRENT"]
        await loop_turns(20)
        harness.log.write()
        message = await received.next()
        assert (message.kind, Cursor.parse(message.cursor).revision) == (Response.CURRENT, 2)
    monkeypatch.setattr(time_limits, "BEHIND_SECONDS", 0.05)
    async with harness.stream(cursor=Cursor(7, 9, filter_hash([]))) as received:
        assert (await received.next()).reset_reason == Response.FOREIGN


async def test_a_stream_that_waits_for_the_log_does_not_read_it_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The feed itself reads the log's end for all streams: a thousand may wait after a failover."""
    monkeypatch.setattr(stream_module, "BEHIND_PAUSE_SECONDS", 0)
    async with Harness.running(pause_seconds=60) as harness, harness.stream() as current:
        assert await kinds(current, 1) == ["CURRENT"]
        reads = harness.log.reads
        async with harness.stream(cursor=Cursor(7, 1, filter_hash([]))) as received:
            await loop_turns(50)
            assert harness.log.reads - reads == 1
            harness.commit()
            message = await received.next()
            assert (message.kind, Cursor.parse(message.cursor).revision) == (Response.CURRENT, 1)
            assert harness.log.reads - reads == 2


@pytest.mark.parametrize("turns", [0, 50])
async def test_a_stream_does_not_wait_for_a_log_of_another_history(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """Whether the history changes before the stream waits or during it."""
    monkeypatch.setattr(time_limits, "BEHIND_SECONDS", 60)
    async with harness.stream() as current:
        assert await kinds(current, 1) == ["CURRENT"]
        async with harness.stream(cursor=Cursor(7, 1, filter_hash([]))) as received:
            await loop_turns(turns)
            harness.log.epoch += 1
            assert (await received.next()).reset_reason == Response.FOREIGN


async def test_a_log_that_went_back_gets_a_new_epoch(harness: Harness) -> None:
    """Open streams are reset, since what they sent may not have happened."""
    harness.log.write()
    harness.log.write()
    async with harness.stream("mntr_1") as received:
        assert await kinds(received, 2) == ["SNAPSHOT", "CURRENT"]
        harness.log.changes.pop()
        reset, _snapshot, current = [await received.next() for _ in range(3)]
    assert reset.reset_reason == Response.FOREIGN
    assert Cursor.parse(current.cursor)[:2] == (8, 1)


@pytest.mark.parametrize("changes_only", [True, False])
async def test_who_begins_before_a_loss_is_noticed_gets_nothing_that_was_lost(*, changes_only: bool) -> None:
    """The memory of the log still has the lost change, and the database has the state before it."""
    async with Harness.running(pause_seconds=60) as harness, harness.stream() as first:
        assert await kinds(first, 1) == ["CURRENT"]
        harness.commit()
        harness.commit()
        await first.until_event(2)
        harness.log.changes.pop()
        async with harness.stream("mntr_1", changes_only=changes_only) as received:
            if not changes_only:
                assert await kinds(received, 1) == ["SNAPSHOT"]
            current = await received.next()
    assert current.kind == Response.CURRENT
    assert Cursor.parse(current.cursor)[:2] == (8, 1)


async def test_a_cursor_of_a_history_that_another_server_noticed_first_is_continued() -> None:
    """The stream waits until its own server knows the history, too."""
    async with Harness.running(pause_seconds=60) as harness, harness.stream() as first:
        assert await kinds(first, 1) == ["CURRENT"]
        harness.commit()
        await first.until_event(1)
        harness.log.epoch += 1
        async with harness.stream(cursor=Cursor(8, 1, filter_hash([]))) as received:
            current = await received.next()
    assert current.kind == Response.CURRENT
    assert Cursor.parse(current.cursor)[:2] == (8, 1)


@pytest.mark.parametrize("changes_only", [True, False])
async def test_who_notices_another_history_first_goes_on_in_that_one(
    monkeypatch: pytest.MonkeyPatch, *, changes_only: bool
) -> None:
    """A cursor of the history that has ended would be reset once more."""
    monkeypatch.setattr(tail_module, "FIRST_CHANGES", 10)
    async with Harness.running(pause_seconds=60) as harness, AsyncExitStack() as stack:
        for _ in range(50):
            harness.log.write()
        first = await stack.enter_async_context(harness.stream())
        assert await kinds(first, 2) == ["PRESENT", "CURRENT"]
        harness.log.epoch += 1
        start = Cursor(7, 5, filter_hash([]))
        received = await stack.enter_async_context(harness.stream(cursor=start, changes_only=changes_only))
        assert (await received.next()).reset_reason == Response.FOREIGN
        if not changes_only:
            assert await kinds(received, 1) == ["PRESENT"]
        assert Cursor.parse((await received.next()).cursor)[:2] == (8, 50)


async def test_changes_that_were_purged_before_they_were_read_expire_open_streams(harness: Harness) -> None:
    """Another process made and purged them between two reads. Their events may be among those that a receiver has."""
    harness.log.write()
    async with harness.stream("mntr_1") as received:
        assert await kinds(received, 2) == ["SNAPSHOT", "CURRENT"]
        harness.log.purged = harness.log.write()
        assert (await received.next()).reset_reason == Response.EXPIRED


async def test_a_heartbeat_moves_the_cursor_of_a_quiet_stream(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past other mentors' changes, once these are known."""
    monkeypatch.setattr(time_limits, "HEARTBEAT_SECONDS", 0.02)
    async with harness.stream("mntr_1") as received:
        await received.next()
        other = harness.log.write("mntr_2")
        while Cursor.parse((message := await received.next()).cursor).revision < other:
            assert message.kind == Response.HEARTBEAT


async def test_a_heartbeat_never_overtakes_a_change(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats come all the time. Each cursor is that of what was sent, not that of what is known."""
    monkeypatch.setattr(time_limits, "HEARTBEAT_SECONDS", 0.0005)
    async with harness.stream() as received:
        await received.next()
        sent = 0
        for _ in range(100):
            await loop_turns(10)
            last = harness.commit()
            while sent < last:
                message = await received.next()
                sent = max([sent, *(int(change.event.sync_event_id[4:]) for change in message.changes)])
                assert Cursor.parse(message.cursor).revision <= sent


@pytest.mark.parametrize("turns", range(12))
async def test_a_change_during_a_round_is_not_forgotten(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """Whichever receiver is served when the second change comes, both changes come to all, without another event."""
    monkeypatch.setattr(subscribers_module, "SLICE_SUBSCRIBERS", 1)
    async with Harness.running(pause_seconds=60) as harness, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(harness.stream("mntr_1")) for _ in range(4)]
        for received in streams:
            await received.next()
        harness.commit("mntr_1")
        await loop_turns(turns)
        last = harness.commit("mntr_1")
        for received in streams:
            assert await received.until_event(last) == [1, 2]


async def test_a_change_during_a_round_goes_at_once_to_those_who_were_not_served_yet(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first change, in one message. The round pauses after each slice."""
    monkeypatch.setattr(subscribers_module, "SLICE_SUBSCRIBERS", 1)
    take = Received.take

    async def commit_and_take(received: Received, message: bytes) -> None:
        if Response.FromString(message).kind == Response.CHANGES and len(harness.log.changes) == 1:
            harness.commit()
        await take(received, message)

    monkeypatch.setattr(Received, "take", commit_and_take)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(harness.stream()) for _ in range(3)]
        for received in streams:
            assert await kinds(received, 1) == ["CURRENT"]
        harness.commit()
        first_messages = [await received.next() for received in streams]
        assert sorted(len(message.changes) for message in first_messages) == [1, 2, 2]


async def test_a_receiver_that_does_not_read_holds_up_nobody(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for it once, and briefly. It gets everything once it reads again."""
    monkeypatch.setattr(subscribers_module, "SLICE_SUBSCRIBERS", 1)
    async with harness.stream() as blocked, harness.stream() as reading:
        for received in (blocked, reading):
            assert await kinds(received, 1) == ["CURRENT"]
        blocked.reading.clear()
        for last in (1, 2, 3):
            harness.commit()
            assert await reading.until_event(last) == [last]
            if last == 1:
                assert await blocked.until_event(1) == [1]
                monkeypatch.setattr(subscribers_module, "LONGEST_PAUSE_SECONDS", 60)
        blocked.reading.set()
        assert await blocked.until_event(3) == [2, 3]


async def test_a_message_that_cannot_be_sent_ends_the_stream(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and not only when there is another message to send."""
    monkeypatch.setattr(subscribers_module, "TICKS", 10_000)
    async with harness.stream() as received:
        assert await kinds(received, 1) == ["CURRENT"]
        received.has_left = True
        harness.commit()
        await until(lambda: harness.feed.subscribers[0].counts.ends[End.DISCONNECTED] == 1)


async def test_the_ends_of_streams_in_several_threads_are_all_counted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if another thread runs between the read and the write of a number, as Python may choose at any hash."""

    def hash_slowly(end: End) -> int:
        time.sleep(0.0001)
        return hash(end.name)

    async def end_streams() -> None:
        for _ in range(50):
            request = FeedRequest(frozenset(), None, changes_only=True, seconds=0)
            assert await harness.feed.stream(request, Messages(), "here", Received().take) is End.TIME

    monkeypatch.setattr(End, "__hash__", hash_slowly)
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, end_streams()) for _ in range(4)))
    (ends,) = (metric for metric in FeedCollector(harness.feed).collect() if metric.name == "mentorsync_feed_ends")
    assert {sample.labels["cause"]: sample.value for sample in ends.samples}["time"] == 200


async def test_a_stream_whose_receiver_has_gone_makes_room_for_another(harness: Harness) -> None:
    """At once: its next heartbeat, which would find out, comes after 20 s."""
    harness.feed.slots = Slots(1)
    async with harness.stream() as gone:
        assert await kinds(gone, 1) == ["CURRENT"]
        gone.has_left = True
        async with harness.stream() as received:
            assert await kinds(received, 1) == ["CURRENT"]


async def test_living_streams_are_not_probed_for_each_caller_beyond_the_limit(harness: Harness) -> None:
    """They get one heartbeat, however many callers are refused. Each stands for a phone whose radio wakes up."""
    harness.feed.slots = Slots(1)
    async with harness.stream() as living:
        assert await kinds(living, 1) == ["CURRENT"]
        for _ in range(3):
            async with harness.stream() as refused:
                with pytest.raises(TooManyStreamsError):
                    await refused.task
        harness.commit()
        assert await kinds(living, 2) == ["HEARTBEAT", "CHANGES"]


async def test_a_process_without_room_finds_out_which_receivers_have_gone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some with each newcomer, in turn. The newcomers are refused, and one that comes a moment later is not."""
    monkeypatch.setattr(slots_module, "PROBED_STREAMS", 1)
    monkeypatch.setattr(slots_module, "PROBED_PAUSE_SECONDS", 0)
    harness.feed.slots = Slots(100, in_all=2)
    async with harness.stream() as living, harness.stream() as gone:
        for received in (living, gone):
            assert await kinds(received, 1) == ["CURRENT"]
        gone.has_left = True
        for _ in range(2):
            async with harness.stream() as refused:
                with pytest.raises(TooManyStreamsError):
                    await refused.task
        await until(lambda: harness.feed.slots.used == 1)
        async with harness.stream() as received:
            assert await kinds(received, 1) == ["CURRENT"]
        harness.commit()
        assert await kinds(living, 2) == ["HEARTBEAT", "CHANGES"]


async def test_a_stream_that_waits_for_a_place_when_a_stop_begins_is_told_to_leave(harness: Harness) -> None:
    """Its place comes free because of the stop."""
    harness.feed.slots = Slots(1)
    async with harness.stream() as first:
        assert await kinds(first, 1) == ["CURRENT"]
        async with harness.stream() as waiting:
            assert await kinds(first, 1) == ["HEARTBEAT"]
            harness.feed.go_away(0)
            assert await kinds(waiting, 1) == ["GOING_AWAY"]
    assert harness.feed.slots.used == 0


@pytest.mark.parametrize("has_left", [True, False])
async def test_the_objects_of_a_stream_go_without_a_garbage_collection(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, *, has_left: bool
) -> None:
    """Collections leave out what has survived one, so objects that refer to each other would stay for ever."""
    made = []

    class NotedStream(Stream):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(feed_module, "Stream", NotedStream)
    gc.disable()
    try:
        async with harness.stream("mntr_1") as received:
            assert await kinds(received, 1) == ["CURRENT"]
            received.has_left = has_left
            harness.commit("mntr_1")
            if has_left:
                await asyncio.wait((received.task,))
        del received.task, received  # the test's own reference to the stream
        (stream,) = made
        await until(lambda: stream() is None)
    finally:
        gc.enable()


async def test_a_fault_in_one_stream_ends_that_stream_alone(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """All streams of an event loop are served by one task, which must not end."""

    def wanted(subscriber: Subscriber, changes: list[EncodedChange]) -> list[EncodedChange]:
        return changes[: 1 // (1 - len(subscriber.mentor_ids))]

    monkeypatch.setattr(Subscriber, "wanted", wanted)
    async with harness.stream("mntr_1") as faulty, harness.stream() as other:
        for received in (faulty, other):
            assert await kinds(received, 1) == ["CURRENT"]
        for number in (1, 2):
            harness.commit("mntr_1")
            assert await other.until_event(number) == [number]
        with pytest.raises(ZeroDivisionError):
            await faulty.task


async def test_a_commit_during_a_read_makes_the_log_be_read_again() -> None:
    """It does not follow on from what was read: another process wrote in between."""
    async with Harness.running(pause_seconds=60) as harness, harness.stream() as received:
        await received.next()
        harness.log.write()
        harness.log.hold = asyncio.Event()
        reads = harness.log.reads
        harness.feed.tail.read_soon()
        await until(lambda: harness.log.reads > reads)
        harness.log.write()
        last = harness.commit()
        harness.log.hold.set()
        assert await received.until_event(last) == [1, 2, 3]


async def test_a_commit_while_another_history_is_read_is_not_left_for_the_next_poll() -> None:
    """The ring of the history that has ended gets it, and is then replaced."""
    async with Harness.running(pause_seconds=60) as harness, harness.stream() as received:
        assert await kinds(received, 1) == ["CURRENT"]
        tail, log = harness.feed.tail, harness.log
        log.epoch += 1
        held = log.hold = asyncio.Event()
        reads = log.reads
        tail.read_soon()
        await until(lambda: log.reads > reads)
        log.hold = asyncio.Event()
        held.set()  # the read that finds the new epoch; the next one, of the new ring's changes, is held
        await until(lambda: log.reads > reads + 1)
        harness.commit()
        assert tail.ring is not None
        assert (tail.ring.epoch, tail.ring.end) == (7, 1)
        log.hold.set()
        await until(lambda: tail.ring is not None and (tail.ring.epoch, tail.ring.end) == (8, 1))


async def test_streams_are_told_to_leave(harness: Harness) -> None:
    """Those that are open, and those that come later."""
    async with harness.stream() as received:
        await received.next()
        harness.feed.go_away(0)
        assert await kinds(received, 1) == ["GOING_AWAY"]
        async with harness.stream() as late:
            assert await kinds(late, 1) == ["GOING_AWAY"]
    assert harness.feed.slots.used == 0


async def test_a_stream_is_told_to_leave_within_its_present_state(harness: Harness) -> None:
    """A stop does not wait until a million pending events have been sent."""
    for _ in range(500):
        harness.log.write()
    async with harness.stream() as received:
        received.reading.clear()
        assert await kinds(received, 1) == ["PRESENT"]
        harness.feed.go_away(0)
        await loop_turns(20)
        received.reading.set()
        assert await kinds(received, 1) == ["GOING_AWAY"]


async def test_the_time_of_a_stream_ends_although_changes_keep_coming(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver so slow that there is always another change for it gets a cursor of what it got, and the end."""
    take = Received.take

    async def take_slowly(received: Received, message: bytes) -> None:
        await take(received, message)
        last = harness.commit()
        await until(lambda: harness.feed.subscribers[0].end == last)

    monkeypatch.setattr(Received, "take", take_slowly)
    async with harness.stream(seconds=0.05) as received:
        async with asyncio.timeout(WAIT_SECONDS):
            assert await received.task is End.TIME
        message = await received.next()
        while message.kind != Response.HEARTBEAT:
            before, message = message, await received.next()
        assert message.cursor == before.cursor
        assert await kinds(received, 1) == ["GOING_AWAY"]


async def test_a_receiver_that_takes_nothing_is_stalled(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not take the line that comes before the first event."""
    monkeypatch.setattr(time_limits, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(time_limits, "STALLED_SECONDS", 0.01)
    never = asyncio.Event()

    async def take_nothing(_message: bytes) -> None:
        await never.wait()

    request = FeedRequest(frozenset(), None, changes_only=True, seconds=60)
    task = asyncio.ensure_future(harness.feed.stream(request, ServerSentEvents(), "here", take_nothing))
    await until(lambda: any(some.stalled for some in harness.feed.subscribers))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
