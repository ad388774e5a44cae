"""Cursors and the ring of newest changes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.feed.cursor import Cursor, MalformedCursorError, filter_hash
from mentorsync.feed.encoding import EncodedChange
from mentorsync.feed.pauses import Pauses
from mentorsync.feed.ring import Ring
from mentorsync.storage.change_reader import EventChange

NUMBERS = some.integers(0, 2**63 - 1)


@given(NUMBERS, NUMBERS, some.sets(some.text("0123456789abc", min_size=1)))
def test_a_cursor_is_read_as_it_was_written(epoch: int, revision: int, mentor_ids: set[str]) -> None:
    """And is safe in a URL."""
    cursor = Cursor(epoch, revision, filter_hash(mentor_ids))
    assert Cursor.parse(str(cursor)) == cursor
    assert str(cursor).replace("-", "").replace("_", "").isalnum()


def test_the_order_and_repetition_of_mentors_do_not_matter() -> None:
    """Other mentors do."""
    assert filter_hash(["mntr_1", "mntr_2"]) == filter_hash(["mntr_2", "mntr_1", "mntr_2"])
    assert len({filter_hash(some) for some in ([], ["mntr_1"], ["mntr_2"], ["mntr_1", "mntr_2"])}) == 4


OTHER_VERSION = base64.urlsafe_b64encode(b"\2" + bytes(23)).decode()


@pytest.mark.parametrize("text", ["", "x", "A" * 31, "A" * 33, "+" * 32, "é" * 32, OTHER_VERSION, "A" * 31 + "\n"])
def test_any_other_text_is_malformed(text: str) -> None:
    """Also the cursor of a version that does not exist yet."""
    with pytest.raises(MalformedCursorError):
        Cursor.parse(text)


def change(revision: int, mentor_id: str = "mntr_1") -> EncodedChange:
    pause, paused = EventType.PAUSE, MentorStatus.PAUSED
    times = {"server_timestamp": 1, "changed_at": 1}
    return EncodedChange(
        EventChange(
            revision=revision,
            sequence=revision,
            sync_event_id=f"evt_{revision}",
            mentor_id=mentor_id,
            event_type=pause,
            resulting_status=paused,
            acknowledged=False,
            accepted=True,
            deleted=False,
            mentor_status=paused,
            **times,
        )
    )


def revisions(changes: list[EncodedChange] | None) -> list[int] | None:
    return None if changes is None else [one.revision for one in changes]


def test_the_ring_gives_what_follows_a_revision() -> None:
    """Up to an end, and up to a number. Revisions may be absent: an event keeps only its last one."""
    ring = Ring(1, 10)
    ring.extend([change(11), change(14), change(15)], 15)
    assert ring.end == 15
    assert revisions(ring.since(10, 15, 9)) == [11, 14, 15]
    assert revisions(ring.since(12, 14, 9)) == [14]
    assert revisions(ring.since(10, 15, 2)) == [11, 14]
    assert revisions(ring.since(15, 15, 9)) == []
    assert revisions(ring.since(20, 15, 9)) == []
    assert revisions(ring.since(9, 15, 9)) is None


def test_the_ring_forgets_the_oldest_changes() -> None:
    """What it keeps is complete after the last one that it forgot."""
    ring = Ring(1, 0, changes=3)
    for revision in range(1, 8):
        ring.extend([change(revision)], revision)
    assert revisions(ring.since(4, 7, 9)) == [5, 6, 7]
    assert revisions(ring.since(3, 7, 9)) is None


def test_pauses_are_short_while_changes_come() -> None:
    """10 ms after the first change, up to 50 ms while they keep coming, and up to 250 ms when there are none."""
    pauses = Pauses.of(is_shared=True)
    seen = []
    for found in [True] * 6 + [False] * 6:
        pauses.note(found=found)
        seen.append(round(pauses.seconds + 1e-9, 3))
    assert seen == [0.01, 0.015, 0.023, 0.034, 0.05, 0.05, 0.075, 0.113, 0.169, 0.25, 0.25, 0.25]
