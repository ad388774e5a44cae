"""A caller's trace continues through the real Envoy, in both layouts. A collector that hangs harms nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync.rpc.service import SERVICE_NAME
from mentorsync_gateway.config import list_path
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector import Collector, running_collector
from tests.grpc_client import CALL_SECONDS, Connect, submit
from tests.server_process import Database, ServerProcess
from tests.up_process import UpProcess

SUBMIT = f"{SERVICE_NAME}/SubmitEvent"
# The flags of `up`, and where the gateway serves gRPC. In one process, Envoy serves it at the service's own address.
LAYOUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "one process": ((), ""),
    "separate": (("--separate",), "127.0.0.1:0"),
}
REASON = "a personal reason"


class Traced(NamedTuple):
    """A running service, and the collector of its spans."""

    up: UpProcess
    collector: Collector

    @property
    def grpc(self) -> str:
        """Where Envoy takes gRPC calls."""
        address, _, _ = self.up.announced.get("balanced", self.up.announced["gRPC"]).partition(" ")
        return address

    def post(self, mentor_id: str, **headers: str) -> httpx.Response:
        event = {"event_type": "PauseMentorEvent", "mentor_id": mentor_id, "reason": REASON}
        return httpx.post(f"{self.up.url}{list_path()}/events", json=event, headers=headers)


@pytest.fixture(scope="module", params=LAYOUTS)
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_collector(patch.setenv) as collector,
        running_up(folder, request.param) as up,
    ):
        yield Traced(up, collector)


@contextmanager
def running_up(folder: Path, layout: str) -> Iterator[UpProcess]:
    flags, gateway_grpc = LAYOUTS[layout]
    database = Database(folder / "mentorsync.db")
    up = UpProcess(database, folder / "up.log", flags, gateway_grpc_address=gateway_grpc)
    try:
        yield up
    finally:
        up.kill()


def traceparent(trace_id: str, parent_id: str) -> str:
    return f"00-{trace_id}-{parent_id}-01"


def wait_for_call(collector: Collector, trace_id: str) -> Span:
    return collector.wait_for(lambda span: span.trace_id.hex() == trace_id, f"the span of a call in {trace_id}")


def check_transaction(collector: Collector, call: Span) -> None:
    """The call's one link leads to its transaction, and back."""
    (link,) = call.links
    transaction = collector.wait_for(lambda span: span.span_id == link.span_id, "the span of the transaction")
    assert (transaction.name, transaction.parent_span_id) == ("TRANSACTION", b"")
    assert call.span_id in [link.span_id for link in transaction.links]


def test_the_trace_of_a_rest_caller_reaches_the_transaction(traced: Traced) -> None:
    """The caller's span is the parent of the call's, and the call is linked with its transaction."""
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": traceparent(trace_id, parent_id), "tracestate": "vendor=value"}
    answer = traced.post("mntr_REST", **headers)
    assert answer.status_code == httpx.codes.OK
    call = wait_for_call(traced.collector, trace_id)
    assert (call.name, call.kind) == (SUBMIT, Span.SPAN_KIND_SERVER)
    assert (call.parent_span_id.hex(), call.trace_state) == (parent_id, "vendor=value")
    (request_id,) = [item.value for item in call.attributes if item.key == "rpc.response.metadata.x-request-id"]
    assert [value.string_value for value in request_id.array_value.values] == [answer.headers["x-request-id"]]
    check_transaction(traced.collector, call)


async def test_the_trace_of_a_grpc_caller_reaches_the_transaction(traced: Traced, connect: Connect) -> None:
    """Through Envoy's gRPC listener, in the same way."""
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with connect(traced.grpc) as channel:
        await MentorStatusSyncStub(channel).SubmitEvent(
            submit("mntr_GRPC", reason=REASON),
            metadata=(("traceparent", traceparent(trace_id, parent_id)), ("tracestate", "vendor=value")),
            timeout=CALL_SECONDS,
        )
    call = wait_for_call(traced.collector, trace_id)
    assert (call.name, call.parent_span_id.hex(), call.trace_state) == (SUBMIT, parent_id, "vendor=value")
    check_transaction(traced.collector, call)


def test_no_span_holds_what_a_caller_wrote(traced: Traced) -> None:
    """Neither a reason nor an id of a mentor leaves the service with the traces."""
    trace_id = "1af7651916cd43dd8448eb211c80319c"
    traced.post("mntr_PRIVATE", traceparent=traceparent(trace_id, "b7ad6b7169203331"))
    wait_for_call(traced.collector, trace_id)
    spans = b"".join(span.SerializeToString() for span in traced.collector.spans())
    assert REASON.encode() not in spans
    assert b"mntr_" not in spans


async def test_a_collector_that_hangs_does_not_delay_the_stop_of_a_server(
    start_server: Callable[[], ServerProcess], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends by itself, with status 0, long before the export would be given up."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with running_collector(monkeypatch.setenv) as collector:
        collector.answers.clear()
        server = start_server()
        async with connect(server.grpc) as channel:
            await MentorStatusSyncStub(channel).SubmitEvent(submit("mntr_1"), timeout=CALL_SECONDS)
        assert collector.asked.wait(CALL_SECONDS)
        assert server.stop() == 0


def test_a_collector_that_hangs_does_not_delay_a_call_or_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop of `up` that has to kill the service would have another status."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with running_collector(monkeypatch.setenv) as collector:
        collector.answers.clear()
        with running_up(tmp_path, "one process") as up:
            traced = Traced(up, collector)
            assert collector.asked.wait(CALL_SECONDS)
            assert traced.post("mntr_1").status_code == httpx.codes.OK
            assert up.stop() == 0
        assert up.logged().count("Failed to export") <= 1
