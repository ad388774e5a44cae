"""The span of a call, by OpenTelemetry's conventions for gRPC servers."""

import asyncio
from typing import Any

from google.rpc import code_pb2, status_pb2
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mentorsync.rpc.context import CallContext
from mentorsync.rpc.methods import Method
from mentorsync.rpc.service import CODE_NAMES, SERVICE_NAME, Service, code_of_cancellation

# The conventions for RPC are stable, but the package of constants lists these names as experimental.
SYSTEM, METHOD, CODE = "rpc.system.name", "rpc.method", "rpc.response.status_code"
REQUEST_ID = "rpc.response.metadata.x-request-id"  # finds the lines of the call in the logs
# By the conventions, the other codes are no failures of the server.
SERVER_ERRORS = frozenset(
    {
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    }
)

propagator = TraceContextTextMapPropagator()


class TracedService(Service):
    """A service that makes a span of each call. The caller's `traceparent` names the span's parent.

    No text that a caller sent and no text of an error goes into a span: both could hold personal data.
    """

    def __init__(self, tracer: Tracer, *arguments: Any, **options: Any) -> None:
        """`arguments` and `options` are those of Service."""
        super().__init__(*arguments, **options)
        self._tracer = tracer

    async def invoke(self, method: Method, payload: bytes, context: CallContext) -> bytes | status_pb2.Status:
        name = f"{SERVICE_NAME}/{method.name}"
        with self._tracer.start_as_current_span(
            name,
            _parent(context),
            SpanKind.SERVER,
            {SYSTEM: "grpc", METHOD: name, REQUEST_ID: (context.request_id,)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                reply = await super().invoke(method, payload, context)
            except asyncio.CancelledError:
                _set_code(span, code_of_cancellation(context))
                raise
            _set_code(span, code_pb2.OK if isinstance(reply, bytes) else reply.code)
            return reply


def _parent(context: CallContext) -> Context:
    """The caller's span. Without one, or if its header is malformed, the call begins a trace."""
    if context.traceparent is None:
        return Context()
    headers = {"traceparent": context.traceparent, "tracestate": context.tracestate or ""}
    return propagator.extract(headers, Context())


def _set_code(span: Span, code: int) -> None:
    name = CODE_NAMES[code]
    span.set_attribute(CODE, name)
    if code in SERVER_ERRORS:
        span.set_attribute(ERROR_TYPE, name)
        span.set_status(StatusCode.ERROR)
