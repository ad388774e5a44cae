"""The effect of single operations on the records."""

from collections import Counter
from itertools import chain, count

import pytest
from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError
from mentorsync.domain.ledger import EVENT_ID_ALPHABET, Ledger, draw_event_id
from mentorsync.domain.operations import DeleteOperation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import LogHead
from mentorsync.domain.status import EventType, MentorStatus

from tests.unit.book import MENTOR_ID, START, Book

PAUSE, RESUME, DEACTIVATE, ACTIVATE = EventType
START_MICROSECONDS = START * 1_000_000


class TestAcceptance:
    def test_an_accepted_event_decides_the_status(self, book: Book) -> None:
        """An accepted event leads the mentor to its status and moves last_updated."""
        event = book.submit(PAUSE)
        assert event.accepted
        assert event.resulting_status is MentorStatus.PAUSED
        assert book.mentor().status is MentorStatus.PAUSED
        assert book.mentor().last_updated == event.server_timestamp == START_MICROSECONDS

    def test_an_event_that_leads_to_the_present_status_is_accepted(self, book: Book) -> None:
        """An allowed event that changes nothing is recorded and moves last_updated."""
        book.submit(PAUSE)
        book.second = 5
        again = book.submit(PAUSE)
        assert again.accepted
        assert book.mentor().last_updated == START_MICROSECONDS + 5_000_000

    def test_an_event_that_is_not_allowed_is_recorded_and_changes_nothing(self, book: Book) -> None:
        """An event that is not allowed from the current status is kept with accepted = false."""
        book.submit(DEACTIVATE)
        before = book.mentor()
        event = book.submit(RESUME)
        assert not event.accepted
        assert event.resulting_status is MentorStatus.INACTIVE
        assert book.mentor() == before
        assert book.events[event.sync_event_id] == event

    def test_a_stale_event_is_recorded_and_changes_nothing(self, book: Book) -> None:
        """A stale event leaves the status as it was and answers with it."""
        book.submit(PAUSE)
        before = book.mentor()
        event = book.submit(ACTIVATE, -1)
        assert not event.accepted
        assert event.resulting_status is MentorStatus.PAUSED
        assert book.mentor() == before

    def test_a_losing_event_does_not_move_the_effective_time(self, book: Book) -> None:
        """Only accepted events decide what is stale."""
        book.submit(DEACTIVATE, -100)
        assert not book.submit(RESUME, -10).accepted
        assert book.submit(ACTIVATE, -50).accepted

    def test_a_mentors_first_event_may_be_from_1970(self, book: Book) -> None:
        """A first event is never stale, however wrong the phone's clock is."""
        assert book.submit(PAUSE, -START).accepted

    def test_mentors_do_not_concern_each_other(self, book: Book) -> None:
        """An event is judged against its own mentor alone."""
        book.submit(DEACTIVATE)
        assert book.submit(RESUME, -100, mentor_id="mntr_other").accepted


class TestTime:
    def test_a_phone_from_the_future_cannot_poison_the_status(self, book: Book) -> None:
        """A time in the future counts as now."""
        book.submit(PAUSE, 10_000_000)
        book.second = 1
        assert book.submit(RESUME, 1).accepted

    def test_a_tap_within_the_second_of_a_server_side_event_is_not_stale(self, book: Book) -> None:
        """Phones send whole seconds, so times are compared in whole seconds."""
        book.second = 0.7
        book.submit(PAUSE)
        book.second = 0.9
        assert book.submit(RESUME, 0).accepted

    def test_a_slow_phone_loses_to_what_was_decided_since(self, book: Book) -> None:
        """An event of a phone whose clock is an hour slow is stale after a decision within that hour."""
        book.submit(PAUSE)
        book.second = 1_800
        assert not book.submit(RESUME, 1_800 - 3_600).accepted

    @pytest.mark.parametrize("step", [-1, -3_600, -10_000_000])
    def test_server_timestamps_never_run_backwards(self, book: Book, step: float) -> None:
        """When the clock is stepped back, times continue from the last value stored."""
        first = book.submit(PAUSE)
        book.second = step
        second = book.submit(RESUME)
        deleted = book.delete(first)
        assert second.accepted
        assert second.server_timestamp == deleted.deleted_at == first.server_timestamp

    def test_an_update_moves_the_last_stored_time(self, book: Book) -> None:
        """Updates and deletes count among the stored times, too."""
        event = book.submit(PAUSE)
        book.second = 60
        book.update(event, acknowledged=True)
        book.second = 30
        assert book.submit(RESUME).server_timestamp == START_MICROSECONDS + 60_000_000

    def test_created_and_first_updated_equal_the_server_timestamp(self, book: Book) -> None:
        """A new record has one time."""
        book.second = 0.123456
        event = book.submit(PAUSE, -5)
        assert event.updated_at == event.server_timestamp == START_MICROSECONDS + 123_456

    def test_the_clocks_lag_is_reported(self) -> None:
        """A ledger knows how far the newest stored time is ahead of the clock."""
        head = LogHead(last_revision=1, last_server_timestamp=90_000_000, pending_total=0)
        ledger = Ledger(head, (), (), clock=20_000_000)
        assert ledger.clock_ahead == 70_000_000
        assert ledger.now == 90_000_000

    def test_deleting_events_changes_no_later_decision(self, book: Book) -> None:
        """The last effective time lives with the mentor, not with its events."""
        event = book.submit(PAUSE)
        book.delete(event)
        book.events.clear()  # as purge does
        assert book.mentor().status is MentorStatus.PAUSED
        assert not book.submit(RESUME, -1).accepted


class TestRetries:
    def test_the_same_key_and_payload_give_the_first_event(self, book: Book) -> None:
        """A repeated submit with a key writes nothing, however much later it comes."""
        first = book.submit(PAUSE, -10, reason="a break", key="k")
        before = book.head
        book.second = 1_000
        assert book.submit(PAUSE, -10, reason="a break", key="k") == first
        assert book.head == before
        assert len(book.events) == 1

    @pytest.mark.parametrize(
        "other",
        [
            SubmitOperation(MENTOR_ID, RESUME, "a break", -10, "k"),
            SubmitOperation(MENTOR_ID, PAUSE, "another", -10, "k"),
            SubmitOperation(MENTOR_ID, PAUSE, "", -10, "k"),
            SubmitOperation(MENTOR_ID, PAUSE, "a break", -11, "k"),
            SubmitOperation(MENTOR_ID, PAUSE, "a break", None, "k"),
        ],
    )
    def test_the_same_key_with_another_payload_is_refused(self, book: Book, other: SubmitOperation) -> None:
        """A reused key is an error, and nothing is written."""
        book.apply(SubmitOperation(MENTOR_ID, PAUSE, "a break", -10, "k"))
        before = book.head
        with pytest.raises(IdempotencyKeyReusedError):
            book.apply(other)
        assert book.head == before
        assert len(book.events) == 1

    def test_a_key_belongs_to_its_mentor(self, book: Book) -> None:
        """The same key of another mentor is another key."""
        first = book.submit(PAUSE, key="k")
        assert book.submit(PAUSE, key="k", mentor_id="mntr_other") != first

    def test_the_same_client_timestamp_gives_the_first_event(self, book: Book) -> None:
        """Without a key, the same type, time and reason make a repetition."""
        first = book.submit(PAUSE, -10, reason="a break")
        book.submit(RESUME)
        assert book.submit(PAUSE, -10, reason="a break") == first

    def test_a_payload_that_differs_in_anything_is_a_new_event(self, book: Book) -> None:
        """Without a key, another type, time, reason or mentor makes another event."""
        book.submit(PAUSE, -10, reason="a break")
        book.submit(ACTIVATE, -10, reason="a break")
        book.submit(PAUSE, -9, reason="a break")
        book.submit(PAUSE, -10, reason="a breaK")
        book.submit(PAUSE, -10, reason="a break", mentor_id="mntr_other")
        assert len(book.events) == 5

    def test_instants_are_compared_at_the_precision_sent(self, book: Book) -> None:
        """One nanosecond makes another event."""
        for nanoseconds in (1_000, 1_001):
            book.apply(SubmitOperation(MENTOR_ID, PAUSE, "", nanoseconds, None))
        assert len(book.events) == 2

    def test_with_and_without_a_key_are_different_submits(self, book: Book) -> None:
        """A submit with a key never repeats one without, nor the other way round."""
        book.submit(PAUSE, -10)
        book.submit(PAUSE, -10, key="k")
        book.submit(PAUSE, -10)
        assert len(book.events) == 2

    def test_a_submit_with_neither_is_a_new_event_each_time(self, book: Book) -> None:
        """Each submit makes a new event."""
        first = book.submit(PAUSE)
        assert book.submit(PAUSE).sync_event_id != first.sync_event_id

    @pytest.mark.parametrize("key", ["k", None])
    def test_a_replay_is_recognised_after_the_reason_changed(self, book: Book, key: str | None) -> None:
        """The digest is of what was submitted, and updates do not change it."""
        first = book.submit(PAUSE, -10, reason="a break", key=key)
        book.update(first, reason="corrected")
        again = book.submit(PAUSE, -10, reason="a break", key=key)
        assert again.sync_event_id == first.sync_event_id
        assert len(book.events) == 1

    @pytest.mark.parametrize("key", ["k", None])
    def test_a_replay_of_a_deleted_event_resurrects_nothing(self, book: Book, key: str | None) -> None:
        """The submit returns the first answer, and the event stays deleted."""
        first = book.submit(PAUSE, -10, reason="a break", key=key)
        book.delete(first)
        again = book.submit(PAUSE, -10, reason="a break", key=key)
        assert again.deleted_at is not None
        assert again[:8] == first._replace(revision=again.revision)[:8]
        assert book.head.pending_total == 0

    def test_a_losing_event_is_replayed_too(self, book: Book) -> None:
        """The submit returns accepted = false again, even if the event would be accepted now."""
        book.submit(DEACTIVATE)
        loser = book.submit(RESUME, -1, key="k")
        book.submit(ACTIVATE)
        assert book.submit(RESUME, -1, key="k") == loser
        assert book.mentor().status is MentorStatus.ACTIVE


class TestPending:
    def test_totals_count_pending_events_alone(self, book: Book) -> None:
        """Accepted, unacknowledged, undeleted events are counted, in all and by mentor."""
        pause = book.submit(PAUSE)
        book.submit(RESUME, -1)  # stale
        book.submit(PAUSE, mentor_id="mntr_other")
        assert (book.head.pending_total, book.mentor().pending_total) == (2, 1)
        book.update(pause, acknowledged=True)
        assert (book.head.pending_total, book.mentor().pending_total) == (1, 0)
        book.update(pause, acknowledged=False)
        assert (book.head.pending_total, book.mentor().pending_total) == (2, 1)
        book.delete(pause)
        assert (book.head.pending_total, book.mentor().pending_total) == (1, 0)

    def test_deleting_an_acknowledged_event_moves_no_total(self, book: Book) -> None:
        """An event that is not pending is not subtracted again."""
        event = book.submit(PAUSE)
        book.update(event, acknowledged=True)
        book.delete(event)
        assert book.head.pending_total == 0

    def test_a_losing_event_can_be_updated_and_deleted_but_is_never_pending(self, book: Book) -> None:
        """On an event that was not accepted, update and delete work and move no total."""
        book.submit(PAUSE)
        loser = book.submit(RESUME, -1)
        book.update(loser, acknowledged=True)
        assert book.update(loser, acknowledged=False, reason="late").reason == "late"
        assert not book.events[loser.sync_event_id].pending
        book.delete(loser)
        assert (book.head.pending_total, book.mentor().pending_total) == (1, 1)


class TestUpdate:
    def test_only_what_is_given_changes(self, book: Book) -> None:
        """An absent field stays as it is."""
        event = book.submit(PAUSE, reason="a break")
        acknowledged = book.update(event, acknowledged=True)
        assert (acknowledged.acknowledged, acknowledged.reason) == (True, "a break")
        edited = book.update(event, reason="longer")
        assert (edited.acknowledged, edited.reason) == (True, "longer")

    def test_an_update_is_stamped(self, book: Book) -> None:
        """A change moves updated_at and nothing of the outcome."""
        event = book.submit(PAUSE)
        book.second = 7
        updated = book.update(event, acknowledged=True)
        assert updated.updated_at == START_MICROSECONDS + 7_000_000
        assert updated.server_timestamp == event.server_timestamp
        assert book.mentor().last_updated == event.server_timestamp

    def test_values_that_already_hold_change_nothing(self, book: Book) -> None:
        """A repeated update gives the same answer with the same updated_at."""
        event = book.submit(PAUSE)
        first = book.update(event, acknowledged=True, reason="x")
        before = book.head
        book.second = 60
        assert book.update(event, acknowledged=True) == first
        assert book.update(event, reason="x") == first
        assert book.update(event, acknowledged=True, reason="x") == first
        assert book.head == before

    def test_an_empty_reason_clears_it(self, book: Book) -> None:
        """The empty text is a value like any other."""
        event = book.submit(PAUSE, reason="a break")
        assert book.update(event, reason="").reason == ""

    def test_an_unknown_event_cannot_be_updated(self, book: Book) -> None:
        """An update is never an upsert."""
        with pytest.raises(EventNotFoundError):
            book.apply(UpdateOperation("evt_UNKNOWN1", acknowledged=True, reason=None))
        assert not book.events

    def test_a_deleted_event_cannot_be_updated(self, book: Book) -> None:
        """A tombstone is unknown to updates."""
        event = book.submit(PAUSE)
        book.delete(event)
        with pytest.raises(EventNotFoundError):
            book.update(event, reason="back?")


class TestDelete:
    def test_a_deleted_event_loses_its_text_and_nothing_else(self, book: Book) -> None:
        """A tombstone has every field of the event except the reason's text."""
        event = book.submit(PAUSE, -3, reason="a secret", key="k")
        book.second = 9
        tombstone = book.delete(event)
        deleted_at = START_MICROSECONDS + 9_000_000
        assert tombstone == event._replace(
            revision=tombstone.revision, reason="", updated_at=deleted_at, deleted_at=deleted_at
        )

    def test_a_delete_does_not_undo(self, book: Book) -> None:
        """Removing a record leaves the mentor's status and last_updated."""
        event = book.submit(PAUSE)
        book.second = 60
        book.delete(event)
        assert book.mentor().status is MentorStatus.PAUSED
        assert book.mentor().last_updated == event.server_timestamp

    def test_a_repeated_delete_gives_the_same_answer(self, book: Book) -> None:
        """The first deleted_at stays."""
        event = book.submit(PAUSE)
        first = book.delete(event)
        before = book.head
        book.second = 60
        assert book.delete(event) == first
        assert book.head == before

    def test_an_unknown_event_cannot_be_deleted(self, book: Book) -> None:
        """The error says that the event is not found."""
        with pytest.raises(EventNotFoundError):
            book.apply(DeleteOperation("evt_UNKNOWN1"))


class TestOnBehalfOf:
    """A caller who may change one mentor's events alone."""

    @pytest.mark.parametrize("is_deleted", [False, True])
    @pytest.mark.parametrize("mentor_id", [MENTOR_ID, None])
    def test_its_own_events_are_found(self, book: Book, mentor_id: str | None, *, is_deleted: bool) -> None:
        """As are all events, if the caller may change all."""
        event = book.submit(PAUSE)
        if is_deleted:
            book.delete(event)
        else:
            assert book.apply(UpdateOperation(event.sync_event_id, True, None, mentor_id)).acknowledged
        assert book.apply(DeleteOperation(event.sync_event_id, mentor_id)).deleted_at

    @pytest.mark.parametrize("is_deleted", [False, True])
    def test_another_mentors_event_does_not_exist(self, book: Book, *, is_deleted: bool) -> None:
        """Nothing changes, and the error is that of an event that does not exist."""
        event = book.submit(PAUSE)
        if is_deleted:
            book.delete(event)
        before, events = book.head, dict(book.events)
        update = UpdateOperation(event.sync_event_id, acknowledged=True, reason="x", on_behalf_of="mntr_other")
        for operation in (update, DeleteOperation(event.sync_event_id, on_behalf_of="mntr_other")):
            with pytest.raises(EventNotFoundError, match=event.sync_event_id):
                book.apply(operation)
        assert (book.head, book.events) == (before, events)


class TestOrder:
    def test_every_change_takes_the_next_revision(self, book: Book) -> None:
        """Revisions are gap-free, and an event's sequence is that of its submit."""
        first = book.submit(PAUSE)
        second = book.submit(RESUME)
        updated = book.update(first, acknowledged=True)
        book.update(first, acknowledged=True)
        deleted = book.delete(second)
        third = book.submit(RESUME, -60)
        assert [event.revision for event in (first, second, updated, deleted, third)] == [1, 2, 3, 4, 5]
        assert [event.sequence for event in book.events.values()] == [1, 2, 5]
        assert book.head.last_revision == 5

    def test_one_refused_operation_leaves_the_others_of_its_batch(self) -> None:
        """A batch's operations are decided in order, each by itself."""
        ledger = Ledger(LogHead(0, 0, 0), (), (), START_MICROSECONDS)
        outcomes = ledger.apply_all(
            [
                SubmitOperation(MENTOR_ID, PAUSE, "", None, "k"),
                DeleteOperation("evt_UNKNOWN1"),
                SubmitOperation(MENTOR_ID, RESUME, "", None, "k"),
                SubmitOperation(MENTOR_ID, PAUSE, "", None, "k"),
            ]
        )
        assert isinstance(outcomes[1], EventNotFoundError)
        assert isinstance(outcomes[2], IdempotencyKeyReusedError)
        assert outcomes[0] == outcomes[3]
        assert ledger.head == LogHead(1, START_MICROSECONDS, 1)

    def test_an_event_may_change_in_the_batch_that_made_it(self) -> None:
        """Later operations of a batch see what the earlier ones did."""
        ledger = Ledger(LogHead(0, 0, 0), (), (), START_MICROSECONDS, lambda: "evt_00000001")
        ledger.apply(SubmitOperation(MENTOR_ID, PAUSE, "secret", None, None))
        ledger.apply(DeleteOperation("evt_00000001"))
        (event,) = ledger.new_events.values()
        assert (event.reason, event.sequence, event.revision) == ("", 1, 2)
        assert not ledger.changed_events
        assert ledger.head.pending_total == 0


class TestEventIds:
    def test_an_event_id_is_drawn_from_the_whole_alphabet(self) -> None:
        """evt_ and 8 of 0-9A-Z, each character about as often as any other."""
        ids = [draw_event_id() for _ in range(2_000)]
        assert all(event_id.startswith("evt_") and len(event_id) == 12 for event_id in ids)
        frequencies = Counter(chain.from_iterable(event_id[4:] for event_id in ids))
        assert set(frequencies) == set(EVENT_ID_ALPHABET) == set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        assert min(frequencies.values()) > 0.6 * max(frequencies.values())
        assert len(set(ids)) == len(ids)

    def test_an_id_drawn_twice_in_a_batch_is_drawn_again(self) -> None:
        """Two new events of one batch never share an id: the second would replace the first."""
        ids = chain(["evt_00000001"] * 3, (f"evt_1000000{number}" for number in count()))
        ledger = Ledger(LogHead(0, 0, 0), (), (), START_MICROSECONDS, lambda: next(ids))
        for event_type in (PAUSE, RESUME):
            ledger.apply(SubmitOperation(MENTOR_ID, event_type, "", None, None))
        assert [event.event_type for event in ledger.new_events.values()] == [PAUSE, RESUME]
