"""The spans of write transactions, on every engine."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from mentorsync.domain.errors import EventNotFoundError
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.store import Commit, Store
from mentorsync.storage.writer import Writer
from mentorsync.tracing.tracers import call_tracer, transaction_tracer
from mentorsync.tracing.transactions import TransactionTracer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, use_span

from tests.storage.opened import MENTOR_ID, GatedStore, OpenedStorage

REASON = "a personal reason"
SUBMIT = SubmitOperation(MENTOR_ID, EventType.PAUSE, REASON, None, None)


class FailingStore(GatedStore):
    """Fails with `error`, if there is one, whenever a transaction writes more than `allowed` operations."""

    error: Exception | None = None
    allowed = 0

    def transact(self, operations: Sequence[Operation]) -> Commit:
        if self.error and len(operations) > self.allowed:
            raise self.error
        return super().transact(operations)


class TracedStorage:
    """A writer whose transactions are traced. `call` writes inside a call's span."""

    def __init__(self, storage: OpenedStorage) -> None:
        self.exporter = InMemorySpanExporter()
        self.gate = storage.gate
        self.engine = storage.engine
        processor = SimpleSpanProcessor(self.exporter)
        self.tracer = call_tracer(processor)
        transactions = TransactionTracer(transaction_tracer(processor), str(storage.engine))
        self.writer = storage.writer = Writer(self._open_store, trace_transaction=transactions.trace)

    def _open_store(self) -> Store:
        self.store = FailingStore(self.engine.open_store(), self.gate)
        return self.store

    async def call(self, operation: Operation = SUBMIT) -> SyncEvent:
        with self.tracer.start_as_current_span("call", record_exception=False):
            return await self.writer.write(operation)

    async def batch(self, *operations: Operation) -> list[Any]:
        """Writes these in one batch, after one of its own. Returns their outcomes."""
        self.gate.close()
        first = asyncio.create_task(self.writer.write(SUBMIT))  # of no call: it gets no span
        await self.gate.entered()
        calls = [asyncio.create_task(self.call(operation)) for operation in operations]
        await asyncio.sleep(0)
        self.gate.open()
        await first
        return await asyncio.gather(*calls, return_exceptions=True)

    def spans(self, kind: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(kind)]


@pytest.fixture
async def traced(storage: OpenedStorage) -> TracedStorage:
    await storage.writer.close()
    return TracedStorage(storage)


def linked(span: ReadableSpan) -> list[int]:
    return sorted(link.context.span_id for link in span.links)


def ids(spans: Sequence[ReadableSpan]) -> list[int]:
    return sorted(span.context.span_id for span in spans if span.context)


async def test_a_transaction_is_linked_with_its_calls_in_both_directions(traced: TracedStorage) -> None:
    """It has a trace of its own, since each of its calls has one."""
    await traced.batch(*[SUBMIT] * 200)
    (transaction,), calls = traced.spans("TRANSACTION"), traced.spans("call")
    assert len(calls) == 200
    assert linked(transaction) == ids(calls)
    assert all(linked(call) == ids([transaction]) for call in calls)
    assert transaction.parent is None
    assert transaction.attributes is not None
    assert transaction.attributes["db.operation.batch.size"] == 200


async def test_a_transaction_describes_the_database(traced: TracedStorage) -> None:
    """By the conventions: a transaction of one call is no batch, and SQLite is no other process."""
    await traced.call()
    (span,) = traced.spans("TRANSACTION")
    described: dict[str, Any] = {"db.operation.name": "TRANSACTION", "db.system.name": "sqlite"}
    if traced.engine.is_shared:
        name = str(traced.engine).rpartition("/")[2]
        described |= {"db.system.name": "postgresql", "db.namespace": name}
        assert (span.name, span.kind) == (f"TRANSACTION {name}", SpanKind.CLIENT)
    else:
        assert (span.name, span.kind) == ("TRANSACTION", SpanKind.INTERNAL)
    assert span.attributes == described


async def test_nothing_that_a_caller_wrote_is_in_a_span(traced: TracedStorage) -> None:
    """Neither the reason nor the query."""
    await traced.call()
    texts = [span.to_json() for span in traced.exporter.get_finished_spans()]
    assert len(texts) == 2
    assert not [text for text in texts if REASON in text or "INSERT" in text]


async def test_the_transaction_of_a_refusal_is_no_failure(traced: TracedStorage) -> None:
    """It was carried out."""
    with pytest.raises(EventNotFoundError):
        await traced.call(DeleteOperation("evt_UNKNOWN1"))
    (span,) = traced.spans("TRANSACTION")
    assert span.status.is_ok
    assert not span.events


async def test_a_failed_transaction_is_an_error(traced: TracedStorage) -> None:
    """The span shows the class of the error. The text, which could hold a query, stays in the log."""
    await traced.call()
    traced.exporter.clear()
    traced.store.error = StorageUnavailableError(f"INSERT {REASON}")
    with pytest.raises(StorageUnavailableError):
        await traced.call()
    (span,) = traced.spans("TRANSACTION")
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == "StorageUnavailableError"
    assert REASON not in span.to_json()


async def test_each_transaction_has_a_span(traced: TracedStorage) -> None:
    """A batch that fails is written one by one: one span failed, and each of the others is linked with its own call."""
    await traced.call()
    traced.exporter.clear()
    traced.store.error, traced.store.allowed = ValueError("too many"), 1
    await traced.batch(SUBMIT, SUBMIT)
    calls, transactions = traced.spans("call"), traced.spans("TRANSACTION")
    assert [span.status.is_ok for span in transactions] == [False, True, True]
    assert [linked(span) for span in transactions] == [ids(calls), *([span_id] for span_id in ids_in_order(calls))]


def ids_in_order(spans: Sequence[ReadableSpan]) -> list[int]:
    return [span.context.span_id for span in sorted(spans, key=lambda span: span.start_time or 0) if span.context]


async def test_the_transaction_of_a_recorded_call_is_always_recorded(
    storage: OpenedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler chooses among calls. Asked for the transaction, it would see the beginning of another trace."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    await storage.writer.close()
    traced = TracedStorage(storage)
    await traced.call()
    assert not traced.exporter.get_finished_spans()
    caller = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
    with use_span(caller):
        await traced.call()
    assert sorted(span.name.split()[0] for span in traced.exporter.get_finished_spans()) == ["TRANSACTION", "call"]


async def test_writes_without_a_recorded_call_have_no_span(traced: TracedStorage) -> None:
    """A caller that is not traced does not start a trace in the writer."""
    await traced.writer.write(SUBMIT)
    assert not traced.exporter.get_finished_spans()
