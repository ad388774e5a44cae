"""Calls of many clients to two servers, for few mentors of one database, are linearizable."""

import asyncio
import math
import random
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.databases import Databases, execute, migrate_database
from tests.faults.linearizability import Call, Revision, ViolationError, check
from tests.faults.noting_server import NOTES_TABLE
from tests.faults.processes import Server
from tests.grpc_client import CALL_SECONDS, Connect, failure_of
from tests.storage.model import ALLOWED_FROM, Event, Model, Refusal, Submit

CLIENTS = 16
CALLS = 50  # of each client
MENTOR_IDS = ("mntr_1", "mntr_2")
RECENT_EVENTS = 4  # what updates and deletes meet on
IMPATIENT_SECONDS = 0.003  # some callers give up while their call is under way
NOTING_SERVER = [sys.executable, "-m", "tests.faults.noting_server"]
KINDS = ["submit"] * 6 + ["repeat"] * 2 + ["update"] * 6 + ["delete"] + ["snapshot"] * 3 + ["page"] * 2
BUSY_WRITERS = "SELECT count(*) FROM (SELECT FROM heads GROUP BY writer_id HAVING count(*) > 10) AS writers"
METHODS = {
    "submit": "SubmitEvent",
    "update": "UpdateEvent",
    "delete": "DeleteEvent",
    "snapshot": "GetMentorStatus",
    "page": "ListSyncEvents",
}


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        migrate_database(url)
        execute(url, NOTES_TABLE)
        yield url


class Client:
    """Makes random calls to one server. `events` are the ids that any client has received, the newest last."""

    def __init__(self, number: int, stub: Any, events: list[str]) -> None:
        self.calls: list[Call] = []
        self._name = f"client-{number}"
        self._random = random.Random(number)  # noqa: S311 - no secret
        self._stub = stub
        self._events = events

    async def run(self, calls: int) -> None:
        for number in range(calls):
            call, request, key = self._draw(f"{self._name}-{number}")
            self.calls.append(call)
            await self._make(call, request, key)

    def _draw(self, name: str) -> tuple[Call, Any, str | None]:
        kind = self._random.choice(KINDS)
        mentor_id = self._random.choice(MENTOR_IDS)
        sync_event_id = self._random.choice(self._events[-RECENT_EVENTS:]) if self._events else "evt_UNKNOWN1"
        now = time.monotonic()
        if kind == "submit":
            return self._submit(mentor_id, name, self._random.choice([None, None, name]))
        if kind == "repeat":  # several clients send the same, also at the same time
            key = f"repeated-{len(self._events) // 10}"
            return self._submit(MENTOR_IDS[0], key, key)
        if kind == "update":
            acknowledged = self._random.choice([None, True, False])
            request = pb.UpdateEventRequest(sync_event_id=sync_event_id, acknowledged=acknowledged, reason=name)
            return Call(kind, sync_event_id, now, acknowledged=acknowledged, reason=name), request, None
        if kind == "delete":
            return Call(kind, sync_event_id, now), pb.DeleteEventRequest(sync_event_id=sync_event_id), None
        if kind == "snapshot":
            return Call(kind, mentor_id, now), pb.GetMentorStatusRequest(mentor_id=mentor_id), None
        return Call(kind, mentor_id, now), pb.ListSyncEventsRequest(mentor_id=mentor_id, limit=100), None

    def _submit(self, mentor_id: str, reason: str, key: str | None) -> tuple[Call, Any, str | None]:
        kinds = sorted(ALLOWED_FROM)
        event_type = kinds[sum(reason.encode()) % len(kinds)]
        request = pb.SubmitEventRequest(event_type=pb.EventType.Value(event_type), mentor_id=mentor_id, reason=reason)
        seconds = self._random.choice([None, int(time.time()), int(time.time()) - 1]) if key is None else None
        if seconds is not None:
            request.client_timestamp.CopyFrom(Timestamp(seconds=seconds))
        client_timestamp = None if seconds is None else seconds * 1_000_000_000
        submit = Submit(mentor_id, event_type, reason, client_timestamp, key)
        return Call("submit", mentor_id, time.monotonic(), submit=submit), request, key

    async def _make(self, call: Call, request: Any, key: str | None) -> None:
        timeout = IMPATIENT_SECONDS if self._random.random() < 0.03 else CALL_SECONDS
        metadata = (("idempotency-key", key),) if key else ()
        try:
            response = await getattr(self._stub, METHODS[call.kind])(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                call.answer = Refusal(error.code().name, failure_of(error).reason)
                call.end = time.monotonic()
            return
        call.end = time.monotonic()
        call.answer = MessageToDict(
            response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        if call.kind == "submit":
            self._events.append(response.sync_event_id)


async def calls_to_two_servers(url: str, connect: Connect, count: int, *arguments: str) -> list[Call]:
    async with AsyncExitStack() as stack:
        servers = await asyncio.gather(
            *(stack.enter_async_context(Server.running(url, connect, [*NOTING_SERVER, *arguments])) for _ in range(2))
        )
        events: list[str] = []
        stubs = [MentorStatusSyncStub(server.channel) for server in servers]
        clients = [Client(number, stubs[number % 2], events) for number in range(CLIENTS)]
        await asyncio.gather(*(client.run(count) for client in clients))
    return [call for client in clients for call in client.calls]


def revisions_in(url: str) -> list[Revision]:
    rows = execute(url, "SELECT revision, event FROM notes ORDER BY revision")
    return [Revision(number, event) for number, event in rows]


async def test_two_servers_are_linearizable(url: str, connect: Connect) -> None:
    """The order of the revisions explains every answer, and agrees with the times of the calls."""
    calls = await calls_to_two_servers(url, connect, CALLS)
    revisions = revisions_in(url)
    check(calls, revisions)
    assert len({call.kind for call in calls}) == len(METHODS)
    assert execute(url, BUSY_WRITERS) == [(2,)]


async def test_two_servers_that_do_not_lock_the_log_are_not_linearizable(url: str, connect: Connect) -> None:
    """The check fails for servers without the lock."""
    execute(url, "DROP INDEX events_revision")  # it is unique, and would reject what such servers write
    calls = await calls_to_two_servers(url, connect, CALLS, "without-lock")
    with pytest.raises(ViolationError):
        check(calls, revisions_in(url))


class TestCheck:
    """The check finds wrong calls whose revisions are complete."""

    PAUSED, RESUMED = (Submit("mntr_1", f"{kind}MentorEvent", kind, None, None) for kind in ("Pause", "Resume"))

    @staticmethod
    def revision(number: int, submit: Submit) -> Revision:
        event = {"sequence": number, "sync_event_id": f"evt_{number}", "reason": submit.reason}
        return Revision(number, event | {"updated_at": number * 1_000_000, "deleted_at": None})

    @staticmethod
    def answered(submit: Submit, start: float, end: float, model: Model) -> Call:
        model.clock = (len(model.history) + 1) * 1_000_000
        event = model.submit(submit)
        assert isinstance(event, Event)
        event.sync_event_id = f"evt_{len(model.history)}"
        return Call("submit", "mntr_1", start, end, submit, answer=event.answer())

    @pytest.fixture
    def history(self) -> tuple[list[Call], list[Revision], Model]:
        """A pause from 0 to 1, a resumption from 2 to 3, and the model after both."""
        model = Model()
        calls = [self.answered(self.PAUSED, 0, 1, model), self.answered(self.RESUMED, 2, 3, model)]
        return calls, [self.revision(1, self.PAUSED), self.revision(2, self.RESUMED)], model

    def test_reads_may_see_a_concurrent_change_or_not(self, history: tuple[list[Call], list[Revision], Model]) -> None:
        """A read during the resumption, or during all of the test, may come before or after the resumption."""
        calls, revisions, model = history
        check(calls, revisions)
        after = model.snapshot("mntr_1")
        check([*calls, Call("snapshot", "mntr_1", 2.5, 2.6, answer=after)], revisions)
        check([*calls, Call("snapshot", "mntr_1", 0, 9, answer=Refusal("NOT_FOUND", "MENTOR_NOT_FOUND"))], revisions)

    @pytest.mark.parametrize(("start", "end"), [(0.5, 1.5), (4, 5)])
    def test_a_read_of_another_time_is_found_out(
        self, history: tuple[list[Call], list[Revision], Model], start: float, end: float
    ) -> None:
        """One read saw the resumption before it started; the other did not see the pause after it had ended."""
        calls, revisions, model = history
        unknown = Refusal("NOT_FOUND", "MENTOR_NOT_FOUND")
        answer = model.snapshot("mntr_1") if start < 1 else unknown
        with pytest.raises(ViolationError):
            check([*calls, Call("snapshot", "mntr_1", start, end, answer=answer)], revisions)

    def test_two_reads_that_go_back_in_time_are_found_out(
        self, history: tuple[list[Call], list[Revision], Model]
    ) -> None:
        """Each of the reads alone is possible during the resumption."""
        calls, revisions, model = history
        calls[1].start, calls[0].end = 0, 3
        newer = Call("snapshot", "mntr_1", 1, 1.1, answer=model.snapshot("mntr_1"))
        older = Call("snapshot", "mntr_1", 2, 2.1, answer=Refusal("NOT_FOUND", "MENTOR_NOT_FOUND"))
        check([*calls, newer], revisions)
        check([*calls, older], revisions)
        with pytest.raises(ViolationError):
            check([*calls, newer, older], revisions)

    def test_changes_in_a_wrong_order_are_found_out(self) -> None:
        """The second change started after the first had ended, but has an earlier revision."""
        model = Model()
        calls = [self.answered(self.PAUSED, 2, 3, model), self.answered(self.RESUMED, 0, 1, model)]
        with pytest.raises(ViolationError):
            check(calls, [self.revision(1, self.PAUSED), self.revision(2, self.RESUMED)])

    def test_a_wrong_answer_is_found_out(self, history: tuple[list[Call], list[Revision], Model]) -> None:
        """A right answer to a change that was never written is found out, too."""
        calls, revisions, _ = history
        with pytest.raises(ViolationError):
            check(calls, revisions[:1])
        calls[1].answer = {**calls[1].answer, "accepted": False}  # type: ignore[dict-item]  # it is no refusal
        with pytest.raises(ViolationError):
            check(calls, revisions)

    def test_an_unanswered_change_may_have_taken_effect_or_not(
        self, history: tuple[list[Call], list[Revision], Model]
    ) -> None:
        """It took effect if its revision exists."""
        calls, revisions, _ = history
        calls[1].answer, calls[1].end = None, math.inf
        check(calls, revisions)
        check(calls, revisions[:1])
