"""The feed gives the present state and then every change, from any point on, alike over both transports."""

import asyncio
import subprocess
from typing import Any

import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync.feed.cursor import Cursor

from tests.feed.conftest import Open, Service
from tests.feed.receivers import Step, all_steps, steps_until
from tests.grpc_client import submit
from tests.server_process import command, environment


async def submitted(stub: MentorStatusSyncStub, mentor_id: str, event_type: int = pb.PauseMentorEvent) -> str:
    return (await stub.SubmitEvent(submit(mentor_id, event_type))).sync_event_id


async def listed(stub: MentorStatusSyncStub, mentor_id: str) -> list[str]:
    """The mentor's pending events, oldest first."""
    pages = [pb.ListSyncEventsRequest(mentor_id=mentor_id, limit=100, page=page) for page in (1, 2)]
    return [event.sync_event_id for page in pages for event in (await stub.ListSyncEvents(page)).data]


def shape(step: Step) -> tuple[Any, ...]:
    """Of a change: the event, and what the feed says of it."""
    data = step.data
    return (data["event"]["sync_event_id"], data["accepted"], data["pending"], data["deleted"], data["mentor_status"])


async def test_the_present_state_comes_first_then_current_then_changes(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str, other_mentor_id: str
) -> None:
    """For mentors that were asked for: a snapshot each, and none for a mentor without an event."""
    first = await submitted(stub, mentor_id)
    async with receive(mentor_id=[mentor_id, other_mentor_id]) as receiver:
        begin = await steps_until(receiver, "current")
        second = await submitted(stub, other_mentor_id)
        (change,) = await steps_until(receiver, "change")
    assert [step.kind for step in begin] == ["snapshot", "current"]
    assert [event["sync_event_id"] for event in begin[0].data["pending_events"]] == [first]
    assert begin[0].cursor == ""
    assert begin[1].cursor
    assert shape(change) == (second, True, True, False, "paused")


async def test_pending_events_beyond_a_snapshot_follow_it(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """A snapshot has the oldest 100. The others come as the present state, oldest first."""
    await asyncio.gather(*(submitted(stub, mentor_id) for _ in range(103)))
    ids = await listed(stub, mentor_id)
    async with receive(mentor_id=[mentor_id]) as receiver:
        snapshot, present, current = await steps_until(receiver, "current")
    assert [event["sync_event_id"] for event in snapshot.data["pending_events"]] == ids[:100]
    assert [change["event"]["sync_event_id"] for change in present.data["changes"]] == ids[100:]
    assert (present.kind, present.cursor, current.data) == ("present", "", {})


async def test_without_a_filter_all_pending_events_come(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """Up to 100 a message, oldest first. An acknowledged event is not among them."""
    gone = await submitted(stub, mentor_id)
    await asyncio.gather(*(submitted(stub, mentor_id) for _ in range(102)))
    await stub.UpdateEvent(pb.UpdateEventRequest(sync_event_id=gone, acknowledged=True))
    ids = await listed(stub, mentor_id)
    async with receive() as receiver:
        steps = await steps_until(receiver, "current")
        last = await submitted(stub, mentor_id)
        (change,) = await steps_until(receiver, "change")
    pages = [step.data["changes"] for step in steps[:-1]]
    assert {step.kind for step in steps[:-1]} == {"present"}
    assert max(map(len, pages)) == 100
    seen = [one["event"]["sync_event_id"] for page in pages for one in page if one["event"]["mentor_id"] == mentor_id]
    assert seen == ids
    assert shape(change)[0] == last


async def test_each_kind_of_change_is_told(receive: Open, stub: MentorStatusSyncStub, mentor_id: str) -> None:
    """Acknowledged, pending again, deleted, and not accepted. The mentor's status is the present one."""
    async with receive(mentor_id=[mentor_id]) as receiver:
        await steps_until(receiver, "current")
        seen = []
        event = await submitted(stub, mentor_id)
        seen += await steps_until(receiver, "change")
        for acknowledged in (True, False):
            await stub.UpdateEvent(
                pb.UpdateEventRequest(sync_event_id=event, acknowledged=acknowledged, reason="secret")
            )
            seen += await steps_until(receiver, "change")
        inactive = await submitted(stub, mentor_id, pb.DeactivateMentorEvent)
        seen += await steps_until(receiver, "change")
        refused = await submitted(stub, mentor_id, pb.ResumeMentorEvent)
        seen += await steps_until(receiver, "change")
        await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event))
        seen += await steps_until(receiver, "change")
    assert [shape(step) for step in seen] == [
        (event, True, True, False, "paused"),
        (event, True, False, False, "paused"),
        (event, True, True, False, "paused"),
        (inactive, True, True, False, "inactive"),
        (refused, False, False, False, "inactive"),
        (event, True, False, True, "inactive"),
    ]
    assert "secret" not in str(seen)
    assert all(step.cursor for step in seen)


async def test_a_filter_is_exact(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str, other_mentor_id: str
) -> None:
    """Other mentors' changes do not come, and the cursor moves on with them all the same."""
    async with receive(mentor_id=[mentor_id]) as receiver:
        (begin,) = await steps_until(receiver, "current")
        await submitted(stub, other_mentor_id)
        while True:  # the next heartbeat, or the one after it
            heartbeat = (await steps_until(receiver, "heartbeat"))[-1]
            if Cursor.parse(heartbeat.cursor).revision > Cursor.parse(begin.cursor).revision:
                break
        own = await submitted(stub, mentor_id)
        (change,) = await steps_until(receiver, "change")
    assert shape(change)[0] == own


@pytest.mark.parametrize("is_filtered", [False, True])
async def test_a_stream_continues_at_every_cursor(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str, is_filtered: bool
) -> None:
    """What follows a cursor is what followed it in the first stream: nothing is missed, and nothing is repeated."""
    asked = {"mentor_id": [mentor_id]} if is_filtered else {}
    async with receive(changes_only=True, **asked) as receiver:
        steps = await steps_until(receiver, "current")
        for _ in range(3):
            await submitted(stub, mentor_id)
            steps += await steps_until(receiver, "change")
        steps += await steps_until(receiver, "heartbeat")
    for place, step in enumerate(steps):
        following = [later for later in steps[place + 1 :] if later.kind == "change"]
        async with receive(cursor=step.cursor, **asked) as again:
            seen = await steps_until(again, "current")
        assert [later.data for later in seen[:-1]] == [later.data for later in following]
        assert seen[-1].cursor == steps[-1].cursor


async def test_a_resumed_stream_ends_at_the_last_state(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """States in between may be skipped. The last one never is."""
    async with receive(changes_only=True) as receiver:
        (begin,) = await steps_until(receiver, "current")
    event = await submitted(stub, mentor_id)
    for acknowledged in (True, False, True):
        await stub.UpdateEvent(pb.UpdateEventRequest(sync_event_id=event, acknowledged=acknowledged))
    async with receive(cursor=begin.cursor) as again:
        *changes, _current = await steps_until(again, "current")
    assert shape(changes[-1]) == (event, True, False, False, "paused")


def foreign(cursor: str, **fields: Any) -> str:
    return str(Cursor.parse(cursor)._replace(**fields))


async def test_a_cursor_that_cannot_be_continued_starts_anew(
    receive: Open, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """RESET with the reason, then the present state: of another history, from the future, of other mentors."""
    await submitted(stub, mentor_id)
    async with receive(mentor_id=[mentor_id], changes_only=True) as receiver:
        (begin,) = await steps_until(receiver, "current")
    cursors = {
        foreign(begin.cursor, epoch=1): "FOREIGN",
        foreign(begin.cursor, revision=10**12): "FOREIGN",
        foreign(begin.cursor, filter_hash=b"another"): "FILTER_CHANGED",
    }
    for cursor, reason in cursors.items():
        async with receive(mentor_id=[mentor_id], cursor=cursor) as again:
            steps = await steps_until(again, "current")
        assert [step.kind for step in steps] == ["reset", "snapshot", "current"]
        assert (steps[0].data, steps[0].cursor) == ({"reason": reason}, "")


async def test_a_purge_past_a_cursor_expires_it(
    receive: Open, service: Service, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """A cursor exactly at the purged revision has seen all that was purged, and is continued.

    The deletion itself may come in place of the reset, for as long as it is in memory: nothing is missed then.
    """
    async with receive(changes_only=True) as receiver:
        steps = await steps_until(receiver, "current")
        event = await submitted(stub, mentor_id)
        await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event))
        steps += await steps_until(receiver, "change", 2)
    await asyncio.to_thread(purge, service)
    before, at = steps[-2].cursor or steps[0].cursor, steps[-1].cursor
    async with receive(cursor=before, max_seconds=5) as again:
        first = await again.step()
        assert first[:2] == ("reset", {"reason": "EXPIRED"}) or (first.kind, first.data["deleted"]) == ("change", True)
    async with receive(cursor=at, max_seconds=5) as again:
        assert [step.kind for step in await steps_until(again, "current")] == ["current"]


def purge(service: Service) -> None:
    settings = environment({"database_url": service.database_url})
    subprocess.run([*command("purge"), "--older-than", "0s"], env=settings, check=True, stdout=subprocess.DEVNULL)


def new_epoch(service: Service) -> None:
    settings = environment({"database_url": service.database_url})
    subprocess.run(command("new-epoch"), env=settings, check=True, stdout=subprocess.DEVNULL)


async def test_a_new_epoch_resets_open_streams(
    receive: Open, service: Service, stub: MentorStatusSyncStub, mentor_id: str
) -> None:
    """They get the present state again, under the new epoch."""
    async with receive(mentor_id=[mentor_id]) as receiver:
        (begin,) = await steps_until(receiver, "current")
        await asyncio.to_thread(new_epoch, service)
        reset, current = await steps_until(receiver, "current")
        await submitted(stub, mentor_id)
        await steps_until(receiver, "change")
    assert reset[:2] == ("reset", {"reason": "FOREIGN"})
    assert Cursor.parse(current.cursor).epoch != Cursor.parse(begin.cursor).epoch


async def test_a_stream_ends_when_its_time_is_over(receive: Open) -> None:
    """With the newest cursor and a word of farewell: long polling."""
    async with receive(changes_only=True, max_seconds=1) as receiver:
        steps = await all_steps(receiver)
    assert [step.kind for step in steps][0 :: len(steps) - 1] == ["current", "going-away"]
    assert steps[-2].kind == "heartbeat"
    assert steps[-2].cursor
