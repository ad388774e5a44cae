"""Sends spans to the collector, from a thread of the SDK. A collector that is slow or unavailable delays nothing."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc import exporter as sdk_exporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from mentorsync.config import SettingsError
from mentorsync.time_limits import SPAN_FLUSH_SECONDS

SDK_LOGGER = "opentelemetry"  # the parent of all loggers of the SDK


class OutageFilter(logging.Filter):
    """Of the lines that the SDK logs during an outage of the collector, lets only the first one through."""

    is_failing = False

    def filter(self, record: logging.LogRecord) -> bool:
        is_first, self.is_failing = not self.is_failing, True
        record.msg = f"spans are dropped until the collector answers: {record.msg}"
        return is_first


outage = OutageFilter()  # one for the process, as the SDK's logger is


class Exporter(SpanExporter):
    """The SDK's exporter, but it logs each outage only once."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()
        outage.is_failing = False
        sdk_exporter.logger.addFilter(outage)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            outage.is_failing = False
        return result

    def shutdown(self) -> None:
        """Ends an export that is running. Later ones fail at once."""
        self._exporter.shutdown()


def hide_warnings() -> None:
    """For the time after the start: the SDK would log a warning for each retry, and for each span that it drops."""
    logging.getLogger(SDK_LOGGER).setLevel(logging.ERROR)


@contextmanager
def exporting() -> Iterator[BatchSpanProcessor]:
    """Yields what takes the spans that have ended. At the end, sends the last of them, for up to SPAN_FLUSH_SECONDS.

    Raises SettingsError if one of OpenTelemetry's variables has no usable value.
    """
    try:
        exporter = Exporter()
        processor = BatchSpanProcessor(exporter)
    except Exception as error:
        raise SettingsError(f"tracing cannot be set up from the variables OTEL_*: {error}") from error
    try:
        yield processor
    finally:
        # In a thread, because the SDK would wait for up to 30 s.
        flush = threading.Thread(target=processor.shutdown, name="span-flush", daemon=True)
        flush.start()
        flush.join(SPAN_FLUSH_SECONDS)
        exporter.shutdown()
