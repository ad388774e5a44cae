"""The span of a call: its parent, and what OpenTelemetry's conventions for gRPC servers want it to show."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync import __version__
from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.service import SERVICE_NAME
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.tracing.calls import TracedService
from mentorsync.tracing.tracers import call_tracer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id, get_current_span

from tests.unit.service_harness import CONTEXT, Harness

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
NAME = f"{SERVICE_NAME}/GetMentorStatus"


class Traced(Harness):
    """A harness whose service is traced. `span` is the one span of its calls."""

    def __init__(self, call: Any) -> None:
        self.exporter = InMemorySpanExporter()
        super().__init__(call, partial(TracedService, call_tracer(SimpleSpanProcessor(self.exporter))))

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span

    @property
    def attributes(self) -> Mapping[str, Any]:
        assert self.span.attributes is not None
        return self.span.attributes


async def succeed(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    return pb.GetMentorStatusResponse(mentor_id="mntr_1")


async def never(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_call_has_a_span_by_the_conventions() -> None:
    """Its name, kind and attributes are those of a gRPC server. The request id leads to the lines in the log."""
    harness = Traced(succeed)
    assert isinstance(await harness.get(), bytes)
    assert (harness.span.name, harness.span.kind, harness.span.status.status_code) == (
        NAME,
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert dict(harness.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": NAME,
        "rpc.response.status_code": "OK",
        "rpc.response.metadata.x-request-id": ("request-1",),
    }


async def test_the_callers_span_is_the_parent() -> None:
    """The call continues the trace of `traceparent` and keeps the caller's `tracestate`."""
    harness = Traced(succeed)
    await harness.get(context=CONTEXT._replace(traceparent=TRACEPARENT, tracestate="vendor=value"))
    context, parent = harness.span.context, harness.span.parent
    assert context is not None
    assert parent is not None
    assert (format_trace_id(context.trace_id), format_span_id(parent.span_id)) == (TRACE_ID, PARENT_ID)
    assert context.trace_state.to_header() == "vendor=value"


@pytest.mark.parametrize(
    "traceparent", [None, "", "00", f"00-{'0' * 32}-{PARENT_ID}-01", f"00-{TRACE_ID}-{PARENT_ID}", "ä\n", "0" * 10_000]
)
async def test_a_call_without_a_valid_traceparent_begins_a_trace(traceparent: str | None) -> None:
    """As the W3C's recommendation says; the call itself is answered as usual."""
    harness = Traced(succeed)
    assert isinstance(await harness.get(context=CONTEXT._replace(traceparent=traceparent, tracestate="ä=,")), bytes)
    assert harness.span.parent is None


async def test_a_caller_that_does_not_record_its_trace_gets_no_span() -> None:
    """The default sampler follows the flag in `traceparent`."""
    harness = Traced(succeed)
    await harness.get(context=CONTEXT._replace(traceparent=TRACEPARENT[:-1] + "0"))
    assert harness.exporter.get_finished_spans() == ()


async def test_calls_at_the_same_time_have_spans_of_their_own() -> None:
    """Each call runs inside its own span, and no span of another call becomes a parent."""
    seen = []

    async def note(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
        await asyncio.sleep(0)
        seen.append(get_current_span().get_span_context().span_id)
        return pb.GetMentorStatusResponse()

    harness = Traced(note)
    await asyncio.gather(*(harness.get() for _ in range(3)))
    spans = harness.exporter.get_finished_spans()
    assert sorted(seen) == sorted(span.context.span_id for span in spans if span.context)
    assert len(set(seen)) == 3
    assert [span.parent for span in spans] == [None] * 3


@pytest.mark.parametrize(
    ("error", "code", "is_failure"),
    [
        (MentorNotFoundError("mntr_1"), "NOT_FOUND", False),
        (StorageUnavailableError("SELECT secret"), "UNAVAILABLE", True),
        (RuntimeError("SELECT secret"), "INTERNAL", True),
    ],
    ids=["refused", "unavailable", "unforeseen"],
)
async def test_only_failures_of_the_server_are_errors(error: Exception, code: str, *, is_failure: bool) -> None:
    """A refusal is not one, by the conventions. No span shows the text of an error."""

    async def fail(_request: pb.GetMentorStatusRequest, _context: CallContext) -> pb.GetMentorStatusResponse:
        raise error

    harness = Traced(fail)
    await harness.get()
    assert harness.attributes["rpc.response.status_code"] == code
    assert harness.attributes.get("error.type") == (code if is_failure else None)
    assert harness.span.status.is_ok is not is_failure
    assert "secret" not in harness.span.to_json()
    assert not harness.span.events


async def test_bytes_that_are_not_a_message_have_a_span_too() -> None:
    """The span covers the decoding of the request."""
    harness = Traced(succeed)
    await harness.get(b"\xff\xff\xff")
    assert harness.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("deadline", "code"), [(None, "CANCELLED"), (time.monotonic(), "DEADLINE_EXCEEDED")], ids=["none", "passed"]
)
async def test_the_span_of_a_cancelled_call_shows_why_it_ended(deadline: float | None, code: str) -> None:
    """A passed deadline is an error; a caller who gave up is not."""
    harness = Traced(never)
    call = asyncio.create_task(harness.get(context=CONTEXT._replace(deadline=deadline)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert harness.attributes["rpc.response.status_code"] == code
    assert harness.span.status.is_ok is (deadline is None)
    assert harness.log_lines()[0]["code"] == code


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "mentorsync"),
        ({"OTEL_SERVICE_NAME": "status-eu"}, "status-eu"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=status-us"}, "status-us"),
    ],
)
def test_the_resource_names_the_service(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], name: str
) -> None:
    """It is called mentorsync, unless OpenTelemetry's variables give another name. The version is the package's."""
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    exporter = InMemorySpanExporter()
    call_tracer(SimpleSpanProcessor(exporter)).start_span("call").end()
    (span,) = exporter.get_finished_spans()
    assert (span.resource.attributes["service.name"], span.resource.attributes["service.version"]) == (
        name,
        __version__,
    )
