"""Sending spans: a collector that is slow or unavailable delays nothing and does not fill the log."""

import logging
import socket
import time
from collections.abc import Iterator

import pytest
from mentorsync.tracing.export import Exporter, exporting, outage
from mentorsync.tracing.tracers import call_tracer
from opentelemetry.exporter.otlp.proto.grpc import exporter as sdk_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.collector import Collector, running_collector

QUEUE_SPANS = 512
SDK_SECONDS = 10  # for which the SDK would try to send one batch; it would wait for 30 s at its end


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector(monkeypatch.setenv) as collector:
        yield collector


@pytest.fixture
def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "{}:{}".format(*probe.getsockname())


@pytest.fixture
def span() -> ReadableSpan:
    exporter = InMemorySpanExporter()
    call_tracer(SimpleSpanProcessor(exporter)).start_span("call").end()
    (span,) = exporter.get_finished_spans()
    return span


def test_the_last_spans_are_sent_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, span: ReadableSpan
) -> None:
    """A stop does not lose the spans of the calls before it."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with exporting() as processor:
        processor.on_end(span)
    assert [sent.name for sent in collector.spans()] == ["call"]


def test_a_collector_that_hangs_delays_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, span: ReadableSpan
) -> None:
    """Calls end their spans as fast as ever, the queue stays bounded, and so does the wait at the end."""
    collector.answers.clear()
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE_SPANS))
    started = time.monotonic()
    with exporting() as processor:
        for _ in range(20 * QUEUE_SPANS):
            processor.on_end(span)
        assert collector.asked.wait(SDK_SECONDS)
    assert time.monotonic() - started < SDK_SECONDS
    collector.answers.set()
    assert len(collector.spans()) <= 2 * QUEUE_SPANS


class OutageLog(logging.Handler):
    """Collects the lines that pass the filters of the SDK's exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def outage_log() -> Iterator[OutageLog]:
    handler = OutageLog()
    sdk_exporter.logger.addHandler(handler)
    yield handler
    sdk_exporter.logger.removeHandler(handler)


def test_an_outage_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, outage_log: OutageLog, unused_address: str, span: ReadableSpan
) -> None:
    """The line shows where the collector should be, and what is wrong."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{unused_address}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")  # less than the pause before a second attempt
    exporter = Exporter()
    assert [exporter.export([span]) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
    exporter.shutdown()
    (line,) = outage_log.lines
    assert line.startswith("spans are dropped until the collector answers: Failed to export traces")
    assert unused_address in line
    assert "UNAVAILABLE" in line


def test_the_next_outage_is_logged_again(collector: Collector, span: ReadableSpan) -> None:
    """An export that succeeds ends an outage."""
    assert collector.answers.is_set()
    exporter = Exporter()
    assert [is_logged(), is_logged()] == [True, False]
    assert exporter.export([span]) is SpanExportResult.SUCCESS
    assert [is_logged(), is_logged()] == [True, False]
    exporter.shutdown()


def is_logged() -> bool:
    return outage.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, "failed", (), None))
