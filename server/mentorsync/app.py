"""Builds the server, runs it, and stops it in order."""

import asyncio
import json
import logging
import os
import signal
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

from mentorsync.config import GRPC_ADDRESS, METRICS_ADDRESS, STOP_DESCRIPTOR_VARIABLE, SettingsError
from mentorsync.dropped_lines import dropped_by_supervisor
from mentorsync.exposed_addresses import warnings
from mentorsync.feed.feed import Feed
from mentorsync.feed.pauses import Pauses
from mentorsync.feed.slots import Slots
from mentorsync.kinds import Address
from mentorsync.logs import LineWriter, print_without_waiting
from mentorsync.metrics import Metrics
from mentorsync.metrics_server import MetricsServer
from mentorsync.parts import watched
from mentorsync.rpc.calls import Calls
from mentorsync.rpc.credentials import server_credentials
from mentorsync.rpc.grpcio import handler
from mentorsync.rpc.grpcio_server import HEALTH_NAMES, ListenError, grpcio_server
from mentorsync.rpc.health import Health, report_health
from mentorsync.rpc.service import Service
from mentorsync.runtime import freeze_heap
from mentorsync.storage.engine import Engine, open_engine
from mentorsync.storage.epoch import renew_seen_epoch
from mentorsync.storage.migrator import check_current
from mentorsync.storage.reader import Reader
from mentorsync.storage.writer import Writer
from mentorsync.time_limits import DRAIN_SECONDS, RETIRE_SECONDS, STREAM_SPREAD_SECONDS
from mentorsync.tracing.tracing import Tracing, opened_tracing

logger = logging.getLogger(__name__)


async def serve(settings: Namespace, log: LineWriter) -> None:
    """Serves gRPC and metrics until SIGTERM or SIGINT.

    On SIGTERM, a server on a shared database first reports NOT_SERVING but keeps serving for RETIRE_SECONDS, so that
    gateways move traffic to other servers before calls are refused. SIGINT skips this wait, even after SIGTERM.
    Raises SettingsError or StorageSetupError if the server cannot start, and PartEndedError if a part of it dies.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    for warning in warnings(settings, GRPC_ADDRESS):
        logger.warning("%s", warning)
    async with running(settings, log) as server:
        # The process that started this one reads the addresses here.
        print_without_waiting(json.dumps({"event": "ready"} | server.addresses))
        number = await signals.get()
        server.end_streams(STREAM_SPREAD_SECONDS)
        if number == signal.SIGTERM and server.is_shared:
            logger.info("retiring: reporting NOT_SERVING for %g s before refusing calls", RETIRE_SECONDS)
            await server.health.enter_graceful_shutdown()
            with suppress(TimeoutError):
                await asyncio.wait_for(signals.get(), RETIRE_SECONDS)
        logger.info("stopping: finishing accepted calls for up to %g s", DRAIN_SECONDS)
    logger.info("stopped")


class Server(NamedTuple):
    """A running server. `is_shared`: other servers may serve the same database.

    `close_connection` closes the connection to the database that belongs to the calling thread, if there is one. Every
    thread that made calls must call it before the server is closed. `end_streams` ends the streams of the live feed,
    spread over a number of seconds.
    """

    service: Service
    health: Health
    addresses: dict[str, str]
    is_shared: bool
    close_connection: Callable[[], None]
    end_streams: Callable[[float], None]


class Storage(NamedTuple):
    reader: Reader
    writer: Writer
    feed: Feed


@asynccontextmanager
async def running(settings: Namespace, log: LineWriter, health_socket: str = "") -> AsyncIterator[Server]:
    """Serves gRPC and metrics while the body runs. Cancels the body and raises PartEndedError if a part dies.

    With `health_socket`, the path of a Unix socket, only health and reflection are served over gRPC, and only there.
    """
    metrics = Metrics()
    metrics.watch_log(lambda: log.dropped + dropped_by_supervisor())
    engine = open_engine(settings.database_url)
    health = Health()
    async with (
        opened_tracing(str(engine)) as tracing,
        opened_storage(engine, metrics, settings.streams_per_address, tracing) as storage,
    ):
        service = tracing.service(
            Calls(*storage),
            metrics,
            log if logger.isEnabledFor(logging.INFO) else None,
            logs_calls=not health_socket,  # an Envoy around this server has a line of each call
            requires_token=bool(settings.jwt_issuer),
        )
        metrics_server = listening_metrics_server(metrics, settings.metrics_address)
        grpc_server = (
            serving_health(health, health_socket)
            if health_socket
            else serving(service, health, settings.grpc_address, tls_files_of(settings))
        )
        async with metrics_server.running(), grpc_server as grpc_address:
            addresses = {
                "grpc": grpc_address,
                "metrics": str(Address(settings.metrics_address.host, metrics_server.server_port)),
                "database": str(engine),
            }
            probes = {"reads": storage.reader.probe, "writes": storage.writer.probe}
            parts: dict[str, Callable[[], Awaitable[None]]] = {
                "writer": lambda: asyncio.shield(storage.writer.ended),
                "health watch": lambda: report_health(health, HEALTH_NAMES, probes),
                "metrics server": lambda: asyncio.shield(metrics_server.ended),
                "live feed": storage.feed.follow,
            }
            async with watched(parts):
                # An Envoy around this server asks for the health before it listens, and would begin as unhealthy.
                await health.is_known.wait()
                freeze_heap()
                end_streams, close = storage.feed.go_away, engine.close_connection
                with ending_streams_at_stop(storage.feed):
                    yield Server(service, health, addresses, engine.is_shared, close, end_streams)


@asynccontextmanager
async def opened_storage(
    engine: Engine, metrics: Metrics, streams_per_address: int, tracing: Tracing
) -> AsyncIterator[Storage]:
    """A reader, a writer and a feed on the engine. At the end, queued writes are written and the database is closed."""
    check_current(engine)
    with engine.serving():
        feed = opened_feed(engine, metrics, streams_per_address)
        listeners = metrics.observe_commit, feed.on_commit
        writer = Writer(engine.open_store, *listeners, trace_transaction=tracing.trace_transaction)
        metrics.watch_writer(lambda: writer.queued, lambda: writer.clock_ahead_seconds)
        try:
            yield Storage(engine.open_reader(), writer, feed)
        finally:
            await writer.close()
            engine.close()


@contextmanager
def ending_streams_at_stop(feed: Feed) -> Iterator[None]:
    """Ends the streams once the supervisor, if there is one, begins to stop this process or one in front of it."""
    descriptor = os.environ.get(STOP_DESCRIPTOR_VARIABLE)
    if descriptor is None:
        yield
        return
    loop, number = asyncio.get_running_loop(), int(descriptor)

    def end_streams() -> None:
        loop.remove_reader(number)
        feed.go_away(STREAM_SPREAD_SECONDS)

    loop.add_reader(number, end_streams)
    try:
        yield
    finally:
        loop.remove_reader(number)


def opened_feed(engine: Engine, metrics: Metrics, streams_per_address: int) -> Feed:
    def renew(seen: int) -> None:
        try:
            renew_seen_epoch(engine, seen)
        finally:
            engine.database.close()  # the connection of this thread

    reader, pauses = engine.open_change_reader(), Pauses.of(is_shared=engine.is_shared)
    observe = metrics.observe_feed_round
    feed = Feed(reader, lambda seen: asyncio.to_thread(renew, seen), pauses, Slots(streams_per_address), observe)
    metrics.watch_feed(feed)
    return feed


def tls_files_of(settings: Namespace) -> tuple[str, str, str] | None:
    has_tls = bool(settings.tls_certificate)
    return (settings.tls_certificate, settings.tls_key, settings.grpc_client_ca) if has_tls else None


@asynccontextmanager
async def serving(
    service: Service, health: Health, address: Address, tls_files: tuple[str, str, str] | None = None
) -> AsyncIterator[str]:
    """Serves gRPC on the address of the setting, and yields the address with the bound port.

    `tls_files` are the paths of the certificate, of its key, and of the CA of callers' certificates, if they need any.
    """
    credentials = server_credentials(*tls_files) if tls_files else None
    try:
        async with grpcio_server((handler(service),), health, str(address), credentials) as port:
            yield str(Address(address.host, port))
    except ListenError as error:
        raise SettingsError(f"{GRPC_ADDRESS.variable} {error}") from error


@asynccontextmanager
async def serving_health(health: Health, socket: str) -> AsyncIterator[str]:
    """Serves health and reflection on a Unix socket, and gives its address."""
    address = f"unix:{socket}"
    try:
        async with grpcio_server((), health, address):
            yield address
    except ListenError as error:
        raise SettingsError(f"the socket for health checks {error}") from error


def listening_metrics_server(metrics: Metrics, address: Address) -> MetricsServer:
    try:
        return MetricsServer(metrics.registry, *address)
    except OSError as error:
        raise SettingsError(f"{METRICS_ADDRESS.variable} {address} cannot be listened on: {error.strerror}") from error
