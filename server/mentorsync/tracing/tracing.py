"""Switches tracing on if OpenTelemetry's variables ask for it. Else the SDK, which is an extra, is not imported."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from mentorsync.rpc.service import Service
from mentorsync.storage.writer import TraceTransaction, untraced
from mentorsync.tracing.settings import is_wanted


class Tracing(NamedTuple):
    """`service` makes the service, with the arguments of Service. `trace_transaction` is for the writer."""

    service: Callable[..., Service]
    trace_transaction: TraceTransaction


@asynccontextmanager
async def opened_tracing(database: str) -> AsyncIterator[Tracing]:
    """Tracing as the environment wants it, for the database of this URL. Raises SettingsError."""
    if not is_wanted(os.environ):
        yield Tracing(Service, untraced)
        return
    from mentorsync.tracing.calls import TracedService  # noqa: PLC0415 - as the first line says
    from mentorsync.tracing.export import exporting, hide_warnings  # noqa: PLC0415
    from mentorsync.tracing.tracers import call_tracer, transaction_tracer  # noqa: PLC0415
    from mentorsync.tracing.transactions import TransactionTracer  # noqa: PLC0415

    with exporting() as processor:
        service = partial(TracedService, call_tracer(processor))
        transactions = TransactionTracer(transaction_tracer(processor), database)
        hide_warnings()
        yield Tracing(service, transactions.trace)
