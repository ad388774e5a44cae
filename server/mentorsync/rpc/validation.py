"""Converts request messages to operations, and refuses those with invalid fields."""

import random
import re
from itertools import islice
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.domain.operations import DeleteOperation, SubmitOperation, UpdateOperation
from mentorsync.domain.status import EventType
from mentorsync.feed.cursor import Cursor, MalformedCursorError
from mentorsync.feed.request import FeedRequest
from mentorsync.time_limits import MAX_STREAM_SECONDS

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_REASON_CHARACTERS = 500
FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z
LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z

MENTOR_ID = re.compile(r"mntr_[0-9A-Za-z]{1,40}")
SYNC_EVENT_ID = re.compile(r"evt_[0-9A-Za-z]{1,40}")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,64}")
REFUSED_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # category Cc except tab and line feed

MENTOR_ID_RULE = 'must be "mntr_" followed by 1 to 40 of 0-9A-Za-z'
SYNC_EVENT_ID_RULE = 'must be "evt_" followed by 1 to 40 of 0-9A-Za-z'
EVENT_TYPE_RULE = f"must be one of {', '.join(pb.EventType.keys()[1:])}"
REASON_RULE = (
    f"must have at most {MAX_REASON_CHARACTERS} characters, and no control characters except line feed and tab"
)
CLIENT_TIMESTAMP_RULE = "must be in the years 0001 to 9999, with nanos from 0 to 999999999"
MAX_WATCHED_MENTORS = 100
MAX_NAMED_MENTORS = 10  # in an error, of those that are malformed: gRPC's clients take only 8 KB of metadata
WATCHED_MENTORS_RULE = f"must name at most {MAX_WATCHED_MENTORS} mentors"
CURSOR_RULE = "must be a cursor from the feed"
MAX_SECONDS_RULE = f"must be from 1 to {int(MAX_STREAM_SECONDS)}"
IDEMPOTENCY_KEY_RULE = "must be given once, as 1 to 64 visible ASCII characters"


class FieldViolation(NamedTuple):
    field: str
    rule: str


class InvalidFieldsError(Exception):
    """At least one field is missing or malformed. `violations` has every one of them."""

    def __init__(self, violations: list[FieldViolation]) -> None:
        super().__init__("; ".join(f"{field} {rule}" for field, rule in violations))
        self.violations = violations


class PageQuery(NamedTuple):
    page: int
    limit: int
    mentor_id: str | None


def page_query(request: pb.ListSyncEventsRequest) -> PageQuery:
    page = request.page if request.HasField("page") else 1
    limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
    mentor_id = request.mentor_id if request.HasField("mentor_id") else None
    violations = []
    if page < 1:
        violations.append(FieldViolation("page", "must be 1 or more"))
    if limit < 1:
        violations.append(FieldViolation("limit", f"must be 1 or more (over {MAX_LIMIT} counts as {MAX_LIMIT})"))
    if mentor_id is not None and not MENTOR_ID.fullmatch(mentor_id):
        violations.append(FieldViolation("mentor_id", MENTOR_ID_RULE))
    _refuse(violations)
    return PageQuery(page, min(limit, MAX_LIMIT), mentor_id)


def mentor_id_of(request: pb.GetMentorStatusRequest) -> str:
    mentor_id = request.mentor_id
    if not MENTOR_ID.fullmatch(mentor_id):
        _refuse([FieldViolation("mentor_id", MENTOR_ID_RULE)])
    return mentor_id


def submit_operation(request: pb.SubmitEventRequest, idempotency_keys: list[str]) -> SubmitOperation:
    mentor_id, reason = request.mentor_id, request.reason  # protobuf makes a new value at each access of a field
    client_timestamp = request.client_timestamp if request.HasField("client_timestamp") else None
    event_type = EVENT_TYPES.get(request.event_type)
    violations = []
    if event_type is None:
        violations.append(FieldViolation("event_type", EVENT_TYPE_RULE))
    if not MENTOR_ID.fullmatch(mentor_id):
        violations.append(FieldViolation("mentor_id", MENTOR_ID_RULE))
    if not _is_reason(reason):
        violations.append(FieldViolation("reason", REASON_RULE))
    if client_timestamp is not None and not _is_instant(client_timestamp):
        violations.append(FieldViolation("client_timestamp", CLIENT_TIMESTAMP_RULE))
    if len(idempotency_keys) > 1 or not all(map(IDEMPOTENCY_KEY.fullmatch, idempotency_keys)):
        violations.append(FieldViolation("idempotency-key", IDEMPOTENCY_KEY_RULE))
    _refuse(violations)
    assert event_type is not None  # None was refused above
    return SubmitOperation(
        mentor_id,
        event_type,
        reason,
        None if client_timestamp is None else _nanoseconds(client_timestamp),
        idempotency_keys[0] if idempotency_keys else None,
    )


def update_operation(request: pb.UpdateEventRequest, on_behalf_of: str | None) -> UpdateOperation:
    acknowledged = request.acknowledged if request.HasField("acknowledged") else None
    reason = request.reason if request.HasField("reason") else None
    violations = []
    if not SYNC_EVENT_ID.fullmatch(request.sync_event_id):
        violations.append(FieldViolation("sync_event_id", SYNC_EVENT_ID_RULE))
    if acknowledged is None and reason is None:
        violations.append(FieldViolation("acknowledged", "must be set if reason is not set"))
    if reason is not None and not _is_reason(reason):
        violations.append(FieldViolation("reason", REASON_RULE))
    _refuse(violations)
    return UpdateOperation(request.sync_event_id, acknowledged, reason, on_behalf_of)


def delete_operation(request: pb.DeleteEventRequest, on_behalf_of: str | None) -> DeleteOperation:
    if not SYNC_EVENT_ID.fullmatch(request.sync_event_id):
        _refuse([FieldViolation("sync_event_id", SYNC_EVENT_ID_RULE)])
    return DeleteOperation(request.sync_event_id, on_behalf_of)


def feed_request(
    request: pb.WatchSyncEventsRequest | pb.StreamSyncEventsRequest, last_event_id: str | None
) -> FeedRequest:
    """last_event_id: the header, which takes precedence over the cursor. A browser sends it when it connects again."""
    mentor_ids = frozenset(request.mentor_id)
    cursor_field, cursor_text = ("Last-Event-ID", last_event_id) if last_event_id else ("cursor", request.cursor)
    has_cursor = bool(last_event_id) or request.HasField("cursor")
    seconds = request.max_seconds if request.HasField("max_seconds") else None
    malformed = (index for index, mentor_id in enumerate(request.mentor_id) if not MENTOR_ID.fullmatch(mentor_id))
    violations = [
        FieldViolation(f"mentor_id[{index}]", MENTOR_ID_RULE) for index in islice(malformed, MAX_NAMED_MENTORS)
    ]
    if len(mentor_ids) > MAX_WATCHED_MENTORS:
        violations.append(FieldViolation("mentor_id", WATCHED_MENTORS_RULE))
    cursor = _cursor(cursor_text) if has_cursor else None
    if has_cursor and cursor is None:
        violations.append(FieldViolation(cursor_field, CURSOR_RULE))
    if seconds is not None and not 1 <= seconds <= MAX_STREAM_SECONDS:
        violations.append(FieldViolation("max_seconds", MAX_SECONDS_RULE))
    _refuse(violations)
    return FeedRequest(mentor_ids, cursor, request.changes_only, seconds or _random_seconds())


def _cursor(text: str) -> Cursor | None:
    try:
        return Cursor.parse(text)
    except MalformedCursorError:
        return None


def _random_seconds() -> float:
    """Streams that began together must not end together."""
    return MAX_STREAM_SECONDS * random.uniform(0.8, 1)  # noqa: S311 - spreads load, protects nothing


EVENT_TYPES = {int(event_type): event_type for event_type in EventType}


def _refuse(violations: list[FieldViolation]) -> None:
    if violations:
        raise InvalidFieldsError(violations)


def _is_reason(reason: str) -> bool:
    return len(reason) <= MAX_REASON_CHARACTERS and not REFUSED_CONTROL.search(reason)


def _is_instant(timestamp: Timestamp) -> bool:
    return FIRST_SECOND <= timestamp.seconds <= LAST_SECOND and 0 <= timestamp.nanos <= 999_999_999  # noqa: PLR2004 - nanoseconds of a second


def _nanoseconds(timestamp: Timestamp) -> int:
    return timestamp.seconds * 1_000_000_000 + timestamp.nanos
