"""The five calls over gRPC."""

import re
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.grpc_client import CALL_SECONDS, SERVICE, failure, key, submit
from tests.server_process import ServerProcess

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
EVENT_ID = r"evt_[0-9A-Z]{8}"
REQUEST_ID = r"[0-9a-f]{32}|[0-9a-f-]{36}"  # the service's own, or Envoy's UUID


def shown(message: Any) -> dict[str, Any]:
    """A message as JSON, in the contract's names."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


class TestExamples:
    """The contract's examples, with other values."""

    async def test_an_event_is_submitted_listed_updated_and_deleted(
        self, stub: MentorStatusSyncStub, mentor_id: str
    ) -> None:
        """Every answer has the contract's fields."""
        request = submit(mentor_id, reason="Taking a short break", client_timestamp=Timestamp(seconds=1_774_516_495))
        submitted = shown(await stub.SubmitEvent(request, timeout=CALL_SECONDS))
        event_id, decided = submitted["sync_event_id"], submitted["server_timestamp"]
        assert re.fullmatch(EVENT_ID, event_id)
        assert re.fullmatch(TIME, decided)
        assert submitted == {
            "sync_event_id": event_id,
            "mentor_id": mentor_id,
            "event_type": "PauseMentorEvent",
            "accepted": True,
            "resulting_status": "paused",
            "server_timestamp": decided,
            "created_at": decided,
        }
        item = {
            "sync_event_id": event_id,
            "mentor_id": mentor_id,
            "event_type": "PauseMentorEvent",
            "resulting_status": "paused",
            "server_timestamp": decided,
            "acknowledged": False,
        }
        page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(mentor_id=mentor_id), timeout=CALL_SECONDS)
        assert shown(page) == {"data": [item], "pagination": {"page": 1, "limit": 20, "total": 1}}
        snapshot = await stub.GetMentorStatus(pb.GetMentorStatusRequest(mentor_id=mentor_id), timeout=CALL_SECONDS)
        assert shown(snapshot) == {
            "mentor_id": mentor_id,
            "status": "paused",
            "is_eligible_for_assignment": False,
            "last_updated": decided,
            "pending_events": [item],
        }
        reason = "Corrected: extended personal leave"
        change = pb.UpdateEventRequest(sync_event_id=event_id, acknowledged=True, reason=reason)
        updated = shown(await stub.UpdateEvent(change, timeout=CALL_SECONDS))
        assert re.fullmatch(TIME, updated.pop("updated_at"))
        assert updated == {"sync_event_id": event_id, "acknowledged": True, "reason": reason}
        removal = pb.DeleteEventRequest(sync_event_id=event_id)
        deleted = shown(await stub.DeleteEvent(removal, timeout=CALL_SECONDS))
        assert re.fullmatch(TIME, deleted.pop("deleted_at"))
        assert deleted == {"sync_event_id": event_id, "deleted": True}

    async def test_a_losing_event_answers_without_an_error(self, stub: MentorStatusSyncStub, mentor_id: str) -> None:
        """The answer has accepted = false: an error would block an offline queue."""
        await stub.SubmitEvent(submit(mentor_id, pb.DeactivateMentorEvent), timeout=CALL_SECONDS)
        answer = await stub.SubmitEvent(submit(mentor_id, pb.ResumeMentorEvent), timeout=CALL_SECONDS)
        assert (answer.accepted, answer.resulting_status) == (False, pb.inactive)

    async def test_a_replay_is_the_same_byte_for_byte(
        self, channel: grpc.aio.Channel, stub: MentorStatusSyncStub, mentor_id: str
    ) -> None:
        """Also after the event was deleted."""
        raw: Any = channel.unary_unary(f"/{SERVICE}/SubmitEvent")
        payload = submit(mentor_id, reason="a break").SerializeToString()
        first = await raw(payload, **key("k"))
        event_id = pb.SubmitEventResponse.FromString(first).sync_event_id
        await stub.UpdateEvent(pb.UpdateEventRequest(sync_event_id=event_id, reason=""), timeout=CALL_SECONDS)
        await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event_id), timeout=CALL_SECONDS)
        assert await raw(payload, **key("k")) == first

    async def test_a_page_shows_the_limit_that_was_used(self, stub: MentorStatusSyncStub, mentor_id: str) -> None:
        """Over 100 becomes 100."""
        request = pb.ListSyncEventsRequest(page=7, limit=5_000, mentor_id=mentor_id)
        page = await stub.ListSyncEvents(request, timeout=CALL_SECONDS)
        assert shown(page) == {"data": [], "pagination": {"page": 7, "limit": 100, "total": 0}}


BAD_FIELDS: list[tuple[str, Any, list[str]]] = [
    ("ListSyncEvents", pb.ListSyncEventsRequest(page=0, limit=-1, mentor_id="x"), ["page", "limit", "mentor_id"]),
    ("GetMentorStatus", pb.GetMentorStatusRequest(), ["mentor_id"]),
    ("SubmitEvent", pb.SubmitEventRequest(), ["event_type", "mentor_id"]),
    (
        "SubmitEvent",
        submit("mntr_1", 99, reason="\0", client_timestamp=Timestamp(nanos=-1)),
        ["event_type", "reason", "client_timestamp"],
    ),
    ("UpdateEvent", pb.UpdateEventRequest(), ["sync_event_id", "acknowledged"]),
    ("UpdateEvent", pb.UpdateEventRequest(sync_event_id="evt_1", reason="x" * 501), ["reason"]),
    ("DeleteEvent", pb.DeleteEventRequest(sync_event_id="evt_"), ["sync_event_id"]),
]


class TestErrors:
    """Errors come with code, reason and details."""

    @pytest.mark.parametrize(("method", "request_message", "fields"), BAD_FIELDS)
    async def test_bad_fields_are_all_named(
        self, stub: MentorStatusSyncStub, method: str, request_message: Any, fields: list[str]
    ) -> None:
        """INVALID_ARGUMENT, INVALID_FIELD, and one violation for each field."""
        failed = await failure(getattr(stub, method)(request_message, timeout=CALL_SECONDS))
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        violations = failed.details["BadRequest"].field_violations
        assert [violation.field for violation in violations] == fields
        assert all(f"{violation.field} {violation.description}" in failed.message for violation in violations)

    async def test_a_bad_key_is_named(self, stub: MentorStatusSyncStub, mentor_id: str) -> None:
        """The metadata key is reported like a field."""
        failed = await failure(stub.SubmitEvent(submit(mentor_id), **key("two words")))
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert [violation.field for violation in failed.details["BadRequest"].field_violations] == ["idempotency-key"]

    async def test_a_reused_key_is_refused(self, stub: MentorStatusSyncStub, mentor_id: str) -> None:
        """INVALID_ARGUMENT, IDEMPOTENCY_KEY_REUSED, and nothing is written."""
        await stub.SubmitEvent(submit(mentor_id), **key("k"))
        failed = await failure(stub.SubmitEvent(submit(mentor_id, reason="other"), **key("k")))
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
        page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(mentor_id=mentor_id), timeout=CALL_SECONDS)
        assert page.pagination.total == 1

    async def test_an_unknown_mentor_is_not_found(self, stub: MentorStatusSyncStub) -> None:
        """NOT_FOUND, MENTOR_NOT_FOUND, and the message names it."""
        request = pb.GetMentorStatusRequest(mentor_id="mntr_unknown")
        failed = await failure(stub.GetMentorStatus(request, timeout=CALL_SECONDS))
        assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "MENTOR_NOT_FOUND")
        assert "mntr_unknown" in failed.message

    @pytest.mark.parametrize(
        ("method", "request_message"),
        [
            ("UpdateEvent", pb.UpdateEventRequest(sync_event_id="evt_unknown", acknowledged=True)),
            ("DeleteEvent", pb.DeleteEventRequest(sync_event_id="evt_unknown")),
        ],
    )
    async def test_an_unknown_event_is_not_found(
        self, stub: MentorStatusSyncStub, method: str, request_message: Any
    ) -> None:
        """NOT_FOUND, EVENT_NOT_FOUND, and the message names it."""
        failed = await failure(getattr(stub, method)(request_message, timeout=CALL_SECONDS))
        assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND")
        assert "evt_unknown" in failed.message

    @pytest.mark.parametrize(
        ("method", "payload"),
        [
            ("GetMentorStatus", b"\x0a\x06mntr_\xff"),  # not UTF-8
            ("GetMentorStatus", b"\x0a\x20mntr_"),  # ends too early
            ("SubmitEvent", b"\x08\x01\x12\x06mntr_1\x1a\x02\xc3\x28"),  # a reason that is not UTF-8
            ("ListSyncEvents", b"\xff\xff\xff\xff"),
        ],
    )
    async def test_bytes_that_are_not_a_message_are_invalid(
        self, channel: grpc.aio.Channel, method: str, payload: bytes
    ) -> None:
        """INVALID_ARGUMENT with a message of ours, which has no class name."""
        raw: Any = channel.unary_unary(f"/{SERVICE}/{method}")
        failed = await failure(raw(payload, timeout=CALL_SECONDS))
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert "DecodeError" not in failed.message
        assert "UTF-8" in failed.message

    async def test_an_unknown_method_is_unimplemented(self, channel: grpc.aio.Channel) -> None:
        """The answer does not depend on the server."""
        raw: Any = channel.unary_unary(f"/{SERVICE}/NoSuchMethod")
        assert (await failure(raw(b"", timeout=CALL_SECONDS))).code is grpc.StatusCode.UNIMPLEMENTED

    async def test_a_message_that_is_too_large_is_refused(self, stub: MentorStatusSyncStub, mentor_id: str) -> None:
        """RESOURCE_EXHAUSTED, and the message is not decoded. Nothing asks to repeat the call."""
        failed = await failure(stub.SubmitEvent(submit(mentor_id, reason="x" * 100_000), timeout=CALL_SECONDS))
        assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "retry-after" not in failed.metadata


class TestRequestIds:
    @pytest.mark.parametrize("mentor", ["known", "unknown"])
    async def test_the_callers_request_id_comes_back(
        self, stub: MentorStatusSyncStub, mentor_id: str, mentor: str
    ) -> None:
        """In the trailing metadata of answers and of errors."""
        if mentor == "known":
            await stub.SubmitEvent(submit(mentor_id), timeout=CALL_SECONDS)
        call = stub.GetMentorStatus(
            pb.GetMentorStatusRequest(mentor_id=mentor_id),
            metadata=(("x-request-id", f"request-{mentor}"),),
            timeout=CALL_SECONDS,
        )
        assert ("x-request-id", f"request-{mentor}") in tuple(await call.trailing_metadata())

    async def test_a_call_without_one_gets_one(self, stub: MentorStatusSyncStub) -> None:
        """So does a call with an invalid one."""
        ids = set()
        for metadata in ((), (("x-request-id", "two words"),), (("x-request-id", "x" * 129),)):
            call = stub.ListSyncEvents(pb.ListSyncEventsRequest(), metadata=metadata, timeout=CALL_SECONDS)
            ids |= {value for name, value in await call.trailing_metadata() if name == "x-request-id"}
        assert len(ids) == 3
        assert all(re.fullmatch(REQUEST_ID, str(request_id)) for request_id in ids)


class TestObservation:
    async def test_a_call_has_one_log_line_without_its_reason(
        self, stub: MentorStatusSyncStub, server: ServerProcess, mentor_id: str
    ) -> None:
        """It has the method, code, duration and request id. Where Envoy has such a line, the service writes none. The
        log never has the text of a reason.
        """
        metadata = (("x-request-id", mentor_id),)
        secret = "a very private reason"  # noqa: S105 - a text to look for in the log
        await stub.SubmitEvent(submit(mentor_id, reason=secret), metadata=metadata, timeout=CALL_SECONDS)
        line = server.call_line(mentor_id)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert 0 <= line["duration_ms"] < CALL_SECONDS * 1_000
        assert (line["level"], line["method"], line["code"]) == ("info", "SubmitEvent", "OK")
        assert secret not in str(server.log_lines())
        assert len(server.lines_about(mentor_id)) == 1

    async def test_refused_calls_are_logged_with_their_code(
        self, stub: MentorStatusSyncStub, server: ServerProcess, mentor_id: str
    ) -> None:
        """A refused call has a line like any other call. The log does not have the text of its reason either."""
        secret = "another private reason" + "!" * 500
        metadata = (("x-request-id", mentor_id),)
        await failure(stub.SubmitEvent(submit(mentor_id, reason=secret), metadata=metadata, timeout=CALL_SECONDS))
        assert server.call_line(mentor_id)["code"] == "INVALID_ARGUMENT"
        assert "another private reason" not in str(server.log_lines())

    async def test_calls_batches_and_the_queue_are_measured(
        self, stub: MentorStatusSyncStub, server: ServerProcess, mentor_id: str
    ) -> None:
        """The names of the metrics must not change."""
        ok = 'mentorsync_call_duration_seconds_count{code="OK",method="SubmitEvent"}'
        before = server.metric(ok) or 0
        await stub.SubmitEvent(submit(mentor_id), timeout=CALL_SECONDS)
        await failure(stub.GetMentorStatus(pb.GetMentorStatusRequest(mentor_id="mntr_no"), timeout=CALL_SECONDS))
        assert server.metric(ok) == before + 1
        assert server.metric('mentorsync_call_duration_seconds_bucket{code="OK",le="+Inf",method="SubmitEvent"}')
        assert server.metric('mentorsync_call_duration_seconds_count{code="NOT_FOUND",method="GetMentorStatus"}')
        assert server.metric("mentorsync_write_batch_operations_count")
        assert server.metric("mentorsync_write_batch_operations_sum")
        assert server.metric("mentorsync_write_queue_depth") == 0
        assert server.metric("mentorsync_clock_ahead_seconds") == 0
        assert server.metric("process_resident_memory_bytes")
