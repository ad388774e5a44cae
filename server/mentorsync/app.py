"""Puts the server together, runs it, and takes it down in order."""

import asyncio
import gc
import json
import logging
import signal
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from mentorsync.config import GRPC_ADDRESS, METRICS_ADDRESS, Address, SettingsError
from mentorsync.logs import LineWriter
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import Calls
from mentorsync.rpc.grpcio import handler
from mentorsync.rpc.health import Health
from mentorsync.rpc.service import SERVICE_NAME, Service
from mentorsync.storage.engine import Engine, open_engine
from mentorsync.storage.errors import StorageError
from mentorsync.storage.migrator import check_current
from mentorsync.storage.reader import Reader
from mentorsync.storage.writer import Writer
from mentorsync.time_limits import DRAIN_SECONDS, RETIRE_SECONDS

PROBE_SECONDS = 1.0  # how often health finds out whether reads work
MAX_MESSAGE_BYTES = 64 * 1024  # well over the largest valid request
# Of a burst, grpc would end calls at random from 1,000 on, with CANCELLED: that tells nobody to try again. What is too
# much is refused by the write queue, in our own words.
MAX_PENDING_CALLS = 10_000
REFLECTED_SERVICES = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a taken port must be an error, not a second server on it
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),  # the gateway sends one every second
    ("grpc.keepalive_permit_without_calls", 1),
)

logger = logging.getLogger(__name__)


async def serve(settings: Namespace, call_log: LineWriter) -> None:
    """Serves gRPC and metrics until SIGTERM or SIGINT.

    On SIGTERM, a server that others stand in for first lets them take over: calls that come while it stops would fail.
    SIGINT, also after SIGTERM, skips that. Raises SettingsError or StorageSetupError when it cannot start.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    async with running(settings, call_log) as server:
        # Whoever started this process learns here where it serves.
        print(json.dumps({"event": "ready"} | server.addresses), flush=True)
        if await signals.get() == signal.SIGTERM and server.has_others:
            logger.info("retiring: telling gateways to ask others for %g s", RETIRE_SECONDS)
            await server.health.enter_graceful_shutdown()
            with suppress(TimeoutError):
                await asyncio.wait_for(signals.get(), RETIRE_SECONDS)
        logger.info("stopping: finishing accepted calls for up to %g s", DRAIN_SECONDS)
    logger.info("stopped")


class Server(NamedTuple):
    """What runs. `has_others`: other servers may serve the same database."""

    service: Service
    health: Health
    addresses: dict[str, str]
    has_others: bool


@asynccontextmanager
async def running(settings: Namespace, call_log: LineWriter) -> AsyncIterator[Server]:
    """The service, with gRPC and metrics served."""
    metrics = Metrics()
    engine = open_engine(settings.database_url)
    async with open_service(engine, metrics, call_log) as (service, reader):
        with metrics_server(metrics, settings.metrics_address) as metrics_address:
            async with grpc_server(service, reader, settings.grpc_address) as (grpc_address, health_servicer):
                addresses = {"grpc": str(grpc_address), "metrics": str(metrics_address), "database": str(engine)}
                yield Server(service, health_servicer, addresses, engine.is_shared)


@asynccontextmanager
async def open_service(engine: Engine, metrics: Metrics, call_log: LineWriter) -> AsyncIterator[tuple[Service, Reader]]:
    """The service over an engine. On leaving, what is queued is written and the database closed."""
    check_current(engine)
    with engine.serving():
        writer = Writer(engine.open_store, lambda commit: metrics.observe_batch(len(commit.outcomes)))
        metrics.watch_writer(lambda: writer.queued, lambda: writer.clock_ahead_seconds)
        reader = engine.open_reader()
        try:
            is_logged = logger.isEnabledFor(logging.INFO)  # a call's line is an info
            yield Service(Calls(reader, writer), metrics, call_log if is_logged else None), reader
        finally:
            await writer.close()
            engine.close()


@asynccontextmanager
async def grpc_server(service: Service, reader: Reader, address: Address) -> AsyncIterator[tuple[Address, Health]]:
    """A grpcio server with health and reflection. On leaving, it refuses new calls and finishes accepted ones."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handler(service),))
    health_servicer = Health()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(REFLECTED_SERVICES, server)
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise SettingsError(f"{GRPC_ADDRESS.variable} {address} cannot be listened on: is it taken?") from error
    await server.start()
    watch = asyncio.create_task(_watch_health(reader, health_servicer))
    try:
        yield Address(address.host, port), health_servicer
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await health_servicer.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
        del server
        gc.collect()  # when collected, grpc's server still schedules something: that needs the loop, which ends soon


async def _watch_health(reader: Reader, health_servicer: Health) -> None:
    """Serves as long as reads work, the service by name and the server as a whole."""
    serving: int | None = None
    while True:
        try:
            await reader.probe()
            status = int(health_pb2.HealthCheckResponse.SERVING)
            if serving == health_pb2.HealthCheckResponse.NOT_SERVING:
                logger.warning("serving again: reads work")
        except StorageError as error:
            status = int(health_pb2.HealthCheckResponse.NOT_SERVING)
            if serving != status:
                logger.error("not serving: reads fail: %s", error)  # noqa: TRY400 - the text says all
        if serving != status:
            serving = status
            for name in ("", SERVICE_NAME):
                await health_servicer.set(name, status)
        await asyncio.sleep(PROBE_SECONDS)


@contextmanager
def metrics_server(metrics: Metrics, address: Address) -> Iterator[Address]:
    try:
        server, thread = start_http_server(address.port, address.host, metrics.registry)
    except OSError as error:
        raise SettingsError(f"{METRICS_ADDRESS.variable} {address} cannot be listened on: {error.strerror}") from error
    try:
        yield Address(address.host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
