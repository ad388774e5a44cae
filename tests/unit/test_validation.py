"""The limits of every field of a request."""

import unicodedata
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.operations import SubmitOperation, UpdateOperation
from mentorsync.domain.status import EventType
from mentorsync.rpc import validation
from mentorsync.rpc.errors import status_metadata, status_of
from mentorsync.rpc.validation import InvalidFieldsError, PageQuery

MENTOR_ID = "mntr_01HX4V2K8P"
EVENT_ID = "evt_XP2KL9RQ"
LAST_SECOND = 253_402_300_799
FIRST_SECOND = -62_135_596_800
GOOD_MENTOR_IDS = ["mntr_0", "mntr_" + "z" * 40, "mntr_09AZaz"]
BAD_MENTOR_IDS = [
    "",
    "mntr_",
    "mntr_" + "z" * 41,
    "MNTR_0",
    "evt_0",
    "0",
    "mntr_a-b",
    "mntr_a_b",
    "mntr_a b",
    "mntr_ä",
    "mntr_٣",
    "mntr_0\n",
    " mntr_0",
    "mntr_\0",
]
GOOD_EVENT_IDS = [identifier.replace("mntr_", "evt_") for identifier in GOOD_MENTOR_IDS]
BAD_EVENT_IDS = [
    "mntr_0" if identifier == "evt_0" else identifier.replace("mntr_", "evt_") for identifier in BAD_MENTOR_IDS
]
GOOD_REASONS = ["", "x" * 500, "\U0001f9d8" * 500, "line\nand\ttab", "e\u0301", "\u2028", "\u00ad", "'\"\\;--%"]
BAD_REASONS = ["x" * 501, "\U0001f9d8" * 501, "carriage\rreturn"]


def submit(**fields: Any) -> pb.SubmitEventRequest:
    request: dict[str, Any] = {"event_type": pb.PauseMentorEvent, "mentor_id": MENTOR_ID}
    return pb.SubmitEventRequest(**request | fields)


def submitted(request: pb.SubmitEventRequest, *keys: str) -> SubmitOperation:
    return validation.submit_operation(request, list(keys))


def updated(**fields: Any) -> UpdateOperation:
    request: dict[str, Any] = {"sync_event_id": EVENT_ID}
    return validation.update_operation(pb.UpdateEventRequest(**request | fields), None)


def violated(error: InvalidFieldsError) -> list[str]:
    return [violation.field for violation in error.violations]


@pytest.mark.parametrize("mentor_id", GOOD_MENTOR_IDS)
def test_a_valid_mentor_id_is_accepted_everywhere(mentor_id: str) -> None:
    """The prefix mntr_ and 1 to 40 characters of 0-9A-Za-z."""
    assert submitted(submit(mentor_id=mentor_id)).mentor_id == mentor_id
    assert validation.mentor_id_of(pb.GetMentorStatusRequest(mentor_id=mentor_id)) == mentor_id
    assert validation.page_query(pb.ListSyncEventsRequest(mentor_id=mentor_id)).mentor_id == mentor_id


@pytest.mark.parametrize("mentor_id", BAD_MENTOR_IDS)
def test_an_invalid_mentor_id_is_refused_everywhere(mentor_id: str) -> None:
    """The error names the field. An empty filter of a list is set, so it is refused too."""
    with pytest.raises(InvalidFieldsError, match="mentor_id must be") as raised:
        submitted(submit(mentor_id=mentor_id))
    assert violated(raised.value) == ["mentor_id"]
    with pytest.raises(InvalidFieldsError, match="mentor_id must be"):
        validation.mentor_id_of(pb.GetMentorStatusRequest(mentor_id=mentor_id))
    with pytest.raises(InvalidFieldsError, match="mentor_id must be"):
        validation.page_query(pb.ListSyncEventsRequest(mentor_id=mentor_id))


@pytest.mark.parametrize("sync_event_id", GOOD_EVENT_IDS)
def test_a_valid_event_id_is_accepted_everywhere(sync_event_id: str) -> None:
    """The prefix evt_ and 1 to 40 characters of 0-9A-Za-z."""
    assert updated(sync_event_id=sync_event_id, reason="").sync_event_id == sync_event_id
    request = pb.DeleteEventRequest(sync_event_id=sync_event_id)
    assert validation.delete_operation(request, None).sync_event_id == sync_event_id


@pytest.mark.parametrize("sync_event_id", BAD_EVENT_IDS)
def test_an_invalid_event_id_is_refused_everywhere(sync_event_id: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidFieldsError, match="sync_event_id must be") as raised:
        updated(sync_event_id=sync_event_id, reason="")
    assert violated(raised.value) == ["sync_event_id"]
    with pytest.raises(InvalidFieldsError, match="sync_event_id must be"):
        validation.delete_operation(pb.DeleteEventRequest(sync_event_id=sync_event_id), None)


@pytest.mark.parametrize("event_type", EventType)
def test_every_event_type_is_accepted(event_type: EventType) -> None:
    """The domain has the numbers of the protobuf enum."""
    assert submitted(submit(event_type=int(event_type))).event_type is event_type


@pytest.mark.parametrize("number", [0, 5, -1, 2**31 - 1])
def test_an_unknown_event_type_is_refused(number: int) -> None:
    """For an absent or unknown type the error lists the four valid ones."""
    with pytest.raises(InvalidFieldsError) as raised:
        submitted(submit(event_type=number))
    ((field, rule),) = raised.value.violations
    assert field == "event_type"
    for name in ("PauseMentorEvent", "ResumeMentorEvent", "DeactivateMentorEvent", "ActivateMentorEvent"):
        assert name in rule
    assert "UNSPECIFIED" not in rule


@pytest.mark.parametrize("reason", GOOD_REASONS)
def test_a_valid_reason_is_kept_unchanged(reason: str) -> None:
    """Up to 500 code points, with line feed and tab."""
    assert submitted(submit(reason=reason)).reason == reason
    assert updated(reason=reason).reason == reason


@pytest.mark.parametrize("reason", BAD_REASONS)
def test_an_invalid_reason_is_refused(reason: str) -> None:
    """It is longer, or it has other control characters."""
    with pytest.raises(InvalidFieldsError, match="reason must have at most 500 characters"):
        submitted(submit(reason=reason))
    with pytest.raises(InvalidFieldsError, match="reason must have at most 500 characters"):
        updated(reason=reason)


def test_control_characters_are_those_of_category_cc() -> None:
    """Of the characters below U+0300, those of category Cc are refused, except line feed and tab."""
    refused = set()
    for character in map(chr, range(0x300)):
        try:
            updated(reason=character)
        except InvalidFieldsError:
            refused.add(character)
    assert refused == {chr(n) for n in range(0x300) if unicodedata.category(chr(n)) == "Cc"} - {"\n", "\t"}


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(FIRST_SECOND, 0), (LAST_SECOND, 999_999_999), (0, 0), (-1, 999_999_999), (1, 1)]
)
def test_any_time_of_the_years_1_to_9999_is_accepted(seconds: int, nanos: int) -> None:
    """A phone whose clock is wrong is not refused, and the time keeps its precision."""
    operation = submitted(submit(client_timestamp=Timestamp(seconds=seconds, nanos=nanos)))
    assert operation.client_timestamp == seconds * 1_000_000_000 + nanos


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(FIRST_SECOND - 1, 999_999_999), (LAST_SECOND + 1, 0), (0, -1), (0, 1_000_000_000), (2**63 - 1, 0), (-(2**63), 0)],
)
def test_an_invalid_timestamp_is_refused(seconds: int, nanos: int) -> None:
    """Over gRPC, callers can send any numbers."""
    with pytest.raises(InvalidFieldsError, match="client_timestamp must be in the years"):
        submitted(submit(client_timestamp=Timestamp(seconds=seconds, nanos=nanos)))


def test_an_absent_timestamp_is_not_zero() -> None:
    """Without a client_timestamp it is None, and an empty one is the epoch. An absent reason is the empty text."""
    assert submitted(submit()).client_timestamp is None
    assert submitted(submit(client_timestamp=Timestamp())).client_timestamp == 0
    assert submitted(submit()) == submitted(submit(reason=""))


@pytest.mark.parametrize("key", ["k", "k" * 64, "!~", "'\"\\"])
def test_a_valid_idempotency_key_is_accepted(key: str) -> None:
    """1 to 64 visible ASCII characters."""
    assert submitted(submit(), key).idempotency_key == key


@pytest.mark.parametrize("keys", [[""], ["k" * 65], ["a b"], ["\t"], ["ä"], ["k\n"], ["k", "k"], ["k", "l"]])
def test_an_invalid_idempotency_key_is_refused(keys: list[str]) -> None:
    """Two keys are refused as well."""
    with pytest.raises(InvalidFieldsError, match="idempotency-key must be given once"):
        submitted(submit(), *keys)


def test_an_update_has_only_the_fields_that_are_set() -> None:
    """None means that the field does not change."""
    assert updated(acknowledged=False) == UpdateOperation(EVENT_ID, acknowledged=False, reason=None)
    assert updated(reason="") == UpdateOperation(EVENT_ID, acknowledged=None, reason="")


def test_an_update_without_fields_is_refused() -> None:
    """It needs acknowledged, reason, or both."""
    with pytest.raises(InvalidFieldsError, match="acknowledged must be set if reason is not set"):
        updated()


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({}, PageQuery(1, 20, None)),
        ({"page": 2**31 - 1, "limit": 1}, PageQuery(2**31 - 1, 1, None)),
        ({"limit": 100}, PageQuery(1, 100, None)),
        ({"limit": 101}, PageQuery(1, 100, None)),
        ({"limit": 2**31 - 1}, PageQuery(1, 100, None)),
    ],
)
def test_page_and_limit_have_defaults_and_a_bound(fields: dict[str, Any], query: PageQuery) -> None:
    """Page 1 of 20 events. A limit over 100 counts as 100."""
    assert validation.page_query(pb.ListSyncEventsRequest(**fields)) == query


@pytest.mark.parametrize("field", ["page", "limit"])
@pytest.mark.parametrize("value", [0, -1, -(2**31)])
def test_page_and_limit_count_from_1(field: str, value: int) -> None:
    """Values under 1 are refused."""
    with pytest.raises(InvalidFieldsError, match=f"{field} must be 1 or more"):
        validation.page_query(pb.ListSyncEventsRequest(**{field: value}))  # type: ignore[arg-type]


def test_a_refusal_of_many_mentors_stays_small() -> None:
    """It fits into the 8 KB of metadata that gRPC's clients take, with all other bad fields."""
    request = pb.WatchSyncEventsRequest(mentor_id=[str(number) for number in range(101)], cursor="", max_seconds=0)
    with pytest.raises(InvalidFieldsError) as raised:
        validation.feed_request(request, None)
    named = [f"mentor_id[{index}]" for index in range(validation.MAX_NAMED_MENTORS)]
    assert violated(raised.value) == [*named, "mentor_id", "cursor", "max_seconds"]
    assert sum(len(value) * 4 / 3 for _, value in status_metadata(status_of(raised.value), "")) < 4_096


def test_all_invalid_fields_are_reported_together() -> None:
    """One answer names everything that the caller has to correct."""
    request = submit(event_type=0, mentor_id="", reason="\0", client_timestamp=Timestamp(nanos=-1))
    with pytest.raises(InvalidFieldsError) as raised:
        submitted(request, "a b")
    assert violated(raised.value) == ["event_type", "mentor_id", "reason", "client_timestamp", "idempotency-key"]
    with pytest.raises(InvalidFieldsError) as raised:
        validation.page_query(pb.ListSyncEventsRequest(page=0, limit=0, mentor_id=""))
    assert violated(raised.value) == ["page", "limit", "mentor_id"]
    assert len(str(raised.value).split("; ")) == 3  # a reader can tell which words belong to which field
    with pytest.raises(InvalidFieldsError) as raised:
        updated(sync_event_id="", reason="\0")
    assert violated(raised.value) == ["sync_event_id", "reason"]
