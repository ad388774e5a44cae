"""The project's gRPC service over Peewee's ORM: the same calls, with one transaction for each."""

import asyncio
import signal
from argparse import Namespace
from typing import Any, cast
from unittest.mock import Mock

import uvloop
from mentorsync import logs
from mentorsync.app import serving
from mentorsync.config import DATABASE_URL, GRPC_ADDRESS, LOG_LEVEL, resolve
from mentorsync.logs import LineWriter
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import Calls
from mentorsync.rpc.health import SERVING, Health
from mentorsync.rpc.service import SERVICE_NAME, Service

from tests.benchmarks.peers.orm import ThreadedOrm

CONNECTIONS = 10  # to PostgreSQL, one for each thread; with 64 calls in flight a tenth faster than 40 connections
SETTINGS = (DATABASE_URL, GRPC_ADDRESS, LOG_LEVEL)


async def serve(settings: Namespace, call_log: LineWriter) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    orm = cast("Any", ThreadedOrm(settings.database_url, CONNECTIONS))  # used both as the reader and as the writer
    service = Service(Calls(orm, orm, Mock()), Metrics(), call_log)
    health = Health()
    await health.set(SERVICE_NAME, int(SERVING))
    async with serving(service, health, settings.grpc_address) as address:
        print(f"gRPC {address}", flush=True)
        await stop.wait()


def main() -> None:
    settings = resolve(Namespace(), SETTINGS)
    call_log = logs.set_up(settings.log_level, logs.STANDARD_ERROR)
    try:
        uvloop.run(serve(settings, call_log))
    finally:
        call_log.close()


if __name__ == "__main__":
    main()
