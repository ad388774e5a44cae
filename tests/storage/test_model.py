"""The whole service over real storage, compared with a plain model of it over random histories."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeAlias, TypeVar
from unittest.mock import Mock

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.ledger import draw_event_id
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import Calls
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.service import Service
from mentorsync.storage.migrator import migrate
from mentorsync.storage.purge import purge
from mentorsync.storage.writer import Writer

from tests.storage.model import ALLOWED_FROM, SECOND, Model, Refusal, Submit
from tests.storage.opened import START, Clock, OpenEngine

Result = TypeVar("Result")
Reply: TypeAlias = bytes | status_pb2.Status

HISTORIES = {"sqlite": 50, "postgres": 25}  # by engine: as many as take less than 20 s
STEPS = 40
MENTOR_IDS = ["mntr_01HX4V2K8P", "mntr_2"]
UNKNOWN_EVENT_ID = "evt_UNKNOWN1"
DAY = 86_400
YEARS = 5 * 365 * DAY
FIRST_INSTANT = -62_135_596_800 * 1_000_000_000
LAST_INSTANT = 253_402_300_799_999_999_999
RESPONSES: dict[str, type[Message]] = {
    "ListSyncEvents": pb.ListSyncEventsResponse,
    "GetMentorStatus": pb.GetMentorStatusResponse,
    "SubmitEvent": pb.SubmitEventResponse,
    "UpdateEvent": pb.UpdateEventResponse,
    "DeleteEvent": pb.DeleteEventResponse,
}

# A phone's time: seconds from START, so that equal ones repeat, or from the clock; with a fraction, or none at all.
phone_times = strategies.one_of(
    strategies.none(),
    strategies.tuples(
        strategies.sampled_from(["start", "clock"]),
        strategies.sampled_from([0, -1, 1, 2, -3_600, 3_600, -YEARS, YEARS]),
        strategies.sampled_from([0, 0, 1, 999_999_999]),
    ),
    strategies.sampled_from([FIRST_INSTANT, -1, 0, LAST_INSTANT]),
)
submits = strategies.tuples(
    strategies.just("submit"),
    strategies.sampled_from(MENTOR_IDS),
    strategies.sampled_from(sorted(ALLOWED_FROM)),
    strategies.sampled_from(["", "a break", "another\n\U0001f9d8"]),
    phone_times,
    strategies.sampled_from([None, None, "k", "l"]),
)
event_numbers = strategies.integers(0, 30)  # counted from the newest event
updates = strategies.tuples(
    strategies.just("update"),
    event_numbers,
    strategies.sampled_from(
        [(True, None), (False, None), (None, ""), (None, "edited"), (True, "b"), (False, "a break")]
    ),
)
deletes = strategies.tuples(strategies.just("delete"), event_numbers)
operations = strategies.one_of(submits, submits, updates, updates, deletes)


class ServiceAgainstModel(RuleBasedStateMachine):
    """Every answer of the service equals the model's."""

    def __init__(self, open_engine: OpenEngine, name: str) -> None:
        super().__init__()
        self._open_engine = open_engine
        self._name = name
        self._clock = Clock()
        self._model = Model()
        self._model.clock = self._clock()
        self._first_answers: dict[str, bytes] = {}
        self._loop = asyncio.new_event_loop()
        self._run(self._open())

    async def _open(self) -> None:
        self._engine = self._open_engine(self._clock, draw_event_id, self._name)
        migrate(self._engine)
        self._writer = Writer(self._engine.open_store, lambda _operations: None)
        self._service = Service(Calls(self._engine.open_reader(), self._writer, Mock()), Metrics(), None)

    async def _close(self) -> None:
        await self._writer.close()
        self._engine.close()

    def teardown(self) -> None:
        self._run(self._close())
        self._run(self._loop.shutdown_default_executor())
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(coroutine)

    @rule(drawn=strategies.lists(operations, min_size=1, max_size=6))
    def write(self, drawn: list[tuple[Any, ...]]) -> None:
        """Writes that arrive at the same moment are decided one after the other, in their order."""
        calls = [getattr(self, f"_{kind}")(*arguments) for kind, *arguments in drawn]

        async def call_all() -> Sequence[Reply]:
            return await asyncio.gather(*(self._call(name, request, key) for name, request, key, _check in calls))

        for (_name, _request, _key, check), reply in zip(calls, self._run(call_all()), strict=True):
            check(reply)

    def _submit(self, mentor_id: str, event_type: str, reason: str, phone_time: Any, key: str | None) -> Any:
        submit = Submit(mentor_id, event_type, reason, self._nanoseconds(phone_time), key)
        request = pb.SubmitEventRequest(event_type=pb.EventType.Value(event_type), mentor_id=mentor_id)
        if reason:
            request.reason = reason
        if submit.client_timestamp is not None:
            seconds, nanos = divmod(submit.client_timestamp, 1_000_000_000)
            request.client_timestamp.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
        return "SubmitEvent", request, key, lambda reply: self._check_submit(submit, reply)

    def _nanoseconds(self, phone_time: Any) -> int | None:
        if not isinstance(phone_time, tuple):
            number: int | None = phone_time
            return number
        since, seconds, nanos = phone_time
        microseconds = START if since == "start" else self._clock()
        return (microseconds // SECOND + int(seconds)) * 1_000_000_000 + int(nanos)

    def _check_submit(self, submit: Submit, reply: Reply) -> None:
        event = self._model.submit(submit)
        if isinstance(event, Refusal):
            assert outcome_of("SubmitEvent", reply) == event
            return
        assert isinstance(reply, bytes), reply
        if not event.sync_event_id:
            event.sync_event_id = pb.SubmitEventResponse.FromString(reply).sync_event_id
            assert re.fullmatch(r"evt_[0-9A-Z]{8}", event.sync_event_id)
            assert event.sync_event_id not in self._first_answers
            self._first_answers[event.sync_event_id] = reply
        assert outcome_of("SubmitEvent", reply) == event.answer()
        assert reply == self._first_answers[event.sync_event_id]

    def _event_id(self, number: int) -> str:
        known = [event.sync_event_id for event in self._model.history]
        return known[-1 - number] if number < len(known) else UNKNOWN_EVENT_ID

    def _update(self, number: int, change: tuple[bool | None, str | None]) -> Any:
        sync_event_id, (acknowledged, reason) = self._event_id(number), change
        request = pb.UpdateEventRequest(sync_event_id=sync_event_id, acknowledged=acknowledged, reason=reason)
        return (
            "UpdateEvent",
            request,
            None,
            lambda reply: self._check("UpdateEvent", reply, lambda: self._model.update(sync_event_id, *change)),
        )

    def _delete(self, number: int) -> Any:
        sync_event_id = self._event_id(number)
        request = pb.DeleteEventRequest(sync_event_id=sync_event_id)
        return (
            "DeleteEvent",
            request,
            None,
            lambda reply: self._check("DeleteEvent", reply, lambda: self._model.delete(sync_event_id)),
        )

    @rule(
        page=strategies.integers(1, 5),
        limit=strategies.sampled_from([1, 2, 7, 100, 1_000]),
        mentor_id=strategies.sampled_from([None, *MENTOR_IDS, "mntr_unknown"]),
    )
    def list_events(self, page: int, limit: int, mentor_id: str | None) -> None:
        """A page holds the pending events of its place, oldest first."""
        self._read(
            "ListSyncEvents",
            pb.ListSyncEventsRequest(page=page, limit=limit, mentor_id=mentor_id),
            lambda: self._model.page(page, limit, mentor_id),
        )

    @rule(seconds=strategies.sampled_from([0.000001, 0.4, 1, 59, 61, 3_600, 2 * DAY, -0.4, -1, -61, -3_600, -2 * DAY]))
    def step_clock(self, seconds: float) -> None:
        """The clock advances, or is set back."""
        self._clock.seconds += seconds
        self._model.clock = self._clock()

    @rule(age=strategies.sampled_from([0, 1, 60, DAY]))
    def purge(self, age: int) -> None:
        """Purge removes exactly what is unneeded and old."""
        removed = purge(self._engine, age, lambda *_progress: None)
        assert removed == self._model.purge(age * SECOND)

    @rule()
    def restart(self) -> None:
        """Nothing is lost when the service stops and starts again."""
        self._run(self._close())
        self._run(self._open())

    @invariant()
    def every_snapshot_and_total_is_right(self) -> None:
        """Status, pending events and totals always follow from the events so far."""
        for mentor_id in MENTOR_IDS:
            request = pb.GetMentorStatusRequest(mentor_id=mentor_id)
            self._read("GetMentorStatus", request, partial(self._model.snapshot, mentor_id))
        self._read("ListSyncEvents", pb.ListSyncEventsRequest(limit=100), lambda: self._model.page(1, 100, None))

    def _read(self, name: str, request: Message, expected: Callable[[], Any]) -> None:
        self._check(name, self._run(self._call(name, request, None)), expected)

    async def _call(self, name: str, request: Message, key: str | None) -> Reply:
        context = CallContext("request-1", [] if key is None else [key])
        return await self._service.invoke(self._service.methods[name], request.SerializeToString(), context)

    def _check(self, name: str, reply: Reply, expected: Callable[[], Any]) -> None:
        assert outcome_of(name, reply) == expected()


def outcome_of(name: str, reply: Reply) -> Any:
    """The answer as JSON, or the error's code and reason."""
    if isinstance(reply, bytes):
        message = RESPONSES[name].FromString(reply)
        return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    info = error_details_pb2.ErrorInfo()
    reply.details[0].Unpack(info)
    return Refusal(code_pb2.Code.Name(reply.code), info.reason)


def test_the_service_is_its_model(request: pytest.FixtureRequest, open_engine: OpenEngine) -> None:
    """Over any history of writes, retries, clock steps, purges and restarts, every answer equals the model's."""
    numbers = count()
    engine_name = request.node.callspec.params["open_engine"]
    run_state_machine_as_test(
        lambda: ServiceAgainstModel(open_engine, f"history_{next(numbers)}"),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=HISTORIES[engine_name],
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
        ),
    )
