"""The grpcio server: its options, and the services of gRPC itself (health and reflection)."""

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mentorsync.rpc.frames import MAX_MESSAGE_BYTES
from mentorsync.rpc.grpcio import UnknownMethods
from mentorsync.rpc.health import Health
from mentorsync.rpc.service import SERVICE_NAME
from mentorsync.time_limits import DRAIN_SECONDS

# gRPC cancels the calls above this number, and callers do not retry CANCELLED. The number is high, so that the write
# queue is full first: its error asks callers to retry.
MAX_PENDING_CALLS = 10_000
# More than Envoy lets through on either listener: at most 60 KiB, to which it adds a few headers. Above the first of
# the two limits below, gRPC refuses calls at random, by default from 8 KiB on.
MAX_METADATA_BYTES = 96 * 1024
REFLECTED_SERVICES = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
HEALTH_NAMES = ("", SERVICE_NAME)  # the names that health checks ask for: the whole server, and the service
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port in use must be an error, not a second server on the same port
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: no caller needs it, and the ASGI adapter has none either
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),  # the gateway sends a ping every second
    ("grpc.keepalive_permit_without_calls", 1),
)


class ListenError(Exception):
    """The server cannot listen on its address. The message names the address."""


@asynccontextmanager
async def grpcio_server(
    handlers: Sequence[grpc.GenericRpcHandler],
    health_servicer: Health,
    address: str,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[int]:
    """Serves the handlers, health and reflection on `address` (host:port or unix:path), and yields the port.

    With `credentials`, only over TLS.

    Raises ListenError. At the end the health is NOT_SERVING, new calls are refused, and accepted calls get up to
    DRAIN_SECONDS to finish.
    """
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(tuple(handlers))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(REFLECTED_SERVICES, server)
    server.add_generic_rpc_handlers((UnknownMethods(),))  # the last one, so that it gets what no other one takes
    try:
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(f"{address} cannot be listened on: is it in use?") from error
    await server.start()
    try:
        yield port
    finally:
        await health_servicer.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
        del server
        gc.collect()  # the collected server schedules a callback on the loop, which must still run
