"""Envoy with the application of echo_asgi.py inside. It shows the cost of the embedded mode without the service."""

import asyncio
import signal
from argparse import Namespace

from mentorsync.config import GATEWAY_ADMIN_ADDRESS, GRPC_ADDRESS, REST_ADDRESS, resolve
from mentorsync.kinds import Address
from mentorsync.supervisor.envoy import Envoy, Hosted
from mentorsync.supervisor.output import Output
from mentorsync.time_limits import STOP_SECONDS
from mentorsync_gateway.embedded import embedded, embedded_environment

APPLICATION = f"{__package__}.echo_asgi:app"
NO_SOCKET = "/nowhere/health.sock"  # /healthz needs it, the calls do not


async def serve(settings: Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = embedded(
        APPLICATION, settings.rest_address, settings.gateway_admin_address, settings.grpc_address, NO_SOCKET
    )
    gateway = Envoy("the gateway", config, Output().write_log, Hosted(embedded_environment()))
    await gateway.start()
    print(f"REST http://{Address(*gateway.addresses['rest'])}")
    print(f"gRPC {Address(*gateway.addresses['service_grpc'])}", flush=True)
    await stop.wait()
    await gateway.drain(asyncio.get_running_loop().time() + STOP_SECONDS)


if __name__ == "__main__":
    asyncio.run(serve(resolve(Namespace(), (REST_ADDRESS, GRPC_ADDRESS, GATEWAY_ADMIN_ADDRESS))))
