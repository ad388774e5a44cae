"""A bare grpc.aio server that decodes nothing. It shows the cost of gRPC itself, with the service's server options."""

import asyncio
import signal
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mentorsync.config import GRPC_ADDRESS, resolve
from mentorsync.kinds import Address
from mentorsync.rpc.grpcio_server import OPTIONS
from mentorsync.rpc.service import SERVICE_NAME

from tests.benchmarks.peers.answers import ANSWERS


def make_handler(answer: bytes) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(_request: bytes, _context: Any) -> bytes:
        return answer

    return handle


async def serve(address: Address) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=OPTIONS)
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(make_handler(answer)) for name, answer in ANSWERS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    health_servicer = health.aio.HealthServicer()  # the gateway in front checks it
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    await health_servicer.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(str(address))
    await server.start()
    print(f"gRPC {Address(address.host, port)}", flush=True)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(resolve(Namespace(), (GRPC_ADDRESS,)).grpc_address))
