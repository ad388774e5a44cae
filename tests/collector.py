"""A collector of OpenTelemetry spans: what a traced server sends them to."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.server_process import wait_until


class Collector(services.TraceServiceServicer):
    """It keeps each request, and answers while `answers` is set. `asked` is set by the first request."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        self._requests: list[messages.ExportTraceServiceRequest] = []

    def Export(  # noqa: N802 - the method's name in the service
        self, request: messages.ExportTraceServiceRequest, _context: Any
    ) -> messages.ExportTraceServiceResponse:
        self.asked.set()
        self.answers.wait()
        self._requests.append(request)
        return messages.ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self._requests)
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]

    def wait_for(self, is_wanted: Callable[[Span], bool], what: str) -> Span:
        """Waits for the one span of a kind."""
        found: list[Span] = wait_until(lambda: list(filter(is_wanted, self.spans())), what)
        (span,) = found
        return span


@contextmanager
def running_collector(variables: Callable[[str, str], None]) -> Iterator[Collector]:
    """A collector that the processes of this test send their spans to, at once. `variables` sets one of theirs."""
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    variables("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    variables("OTEL_BSP_SCHEDULE_DELAY", "1")  # milliseconds
    try:
        yield collector
    finally:
        collector.answers.set()
        server.stop(None).wait()
