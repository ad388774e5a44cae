"""Envoy with the application of echo_asgi.py inside. It shows the cost of the embedded mode without the service."""

import asyncio
import signal
from argparse import Namespace

from mentorsync.config import GATEWAY_ADMIN_ADDRESS, REST_ADDRESS, Address, resolve
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.launcher import Gateway

APPLICATION = f"{__package__}.echo_asgi:app"
NO_SERVER = [Address("127.0.0.1", 1)]  # /healthz needs a server's address, the calls do not


async def serve(settings: Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = embedded(APPLICATION, settings.rest_address, settings.gateway_admin_address, NO_SERVER)
    gateway = await Gateway.start(config, environment=embedded_environment())
    print(f"REST http://{Address(*gateway.addresses['rest'])}", flush=True)
    await stop.wait()
    await gateway.stop()


if __name__ == "__main__":
    asyncio.run(serve(resolve(Namespace(), (REST_ADDRESS, GATEWAY_ADMIN_ADDRESS))))
