"""The span of a write transaction, by OpenTelemetry's conventions for databases and for batches.

One transaction writes for many calls, so no call is its parent. It begins a trace of its own, and is linked with the
spans of its calls in both directions.
"""

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.semconv.attributes.db_attributes import (
    DB_NAMESPACE,
    DB_OPERATION_BATCH_SIZE,
    DB_OPERATION_NAME,
    DB_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span

OPERATION = "TRANSACTION"


class TransactionTracer:
    """Makes a span of each transaction that writes for a call whose span is recorded. `database` is its URL."""

    def __init__(self, tracer: Tracer, database: str) -> None:
        self._tracer = tracer
        self._name = OPERATION
        self._kind = SpanKind.INTERNAL  # SQLite runs in this process
        self._attributes: dict[str, str | int] = {DB_SYSTEM_NAME: "sqlite", DB_OPERATION_NAME: OPERATION}
        if not database.startswith("sqlite:"):
            self._kind = SpanKind.CLIENT
            self._attributes[DB_SYSTEM_NAME] = "postgresql"
            if name := urlsplit(database).path.removeprefix("/"):
                self._attributes[DB_NAMESPACE] = name
                self._name = f"{OPERATION} {name}"

    @contextmanager
    def trace(self, callers: Sequence[contextvars.Context]) -> Iterator[None]:
        """Traces the transaction that the body runs. `callers` are the contexts of the calls that it writes for."""
        spans = [caller.run(get_current_span) for caller in callers]
        calls = [span for span in spans if span.is_recording()]
        if not calls:
            yield
            return
        attributes = self._attributes | ({DB_OPERATION_BATCH_SIZE: len(callers)} if len(callers) > 1 else {})
        with self._tracer.start_as_current_span(
            self._name,
            Context(),
            self._kind,
            attributes,
            [Link(call.get_span_context()) for call in calls],
            record_exception=False,  # its text could hold a query or a value
            set_status_on_exception=False,
        ) as span:
            for call in calls:  # before their answers, which end them
                call.add_link(span.get_span_context())
            with _failure_shown(span):
                yield


@contextmanager
def _failure_shown(span: Span) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        span.set_attribute(ERROR_TYPE, type(error).__qualname__)
        span.set_status(StatusCode.ERROR)
        raise
