"""Two servers behind a network with faults to their PostgreSQL, under load."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import NamedTuple

from tests.faults.faulty_proxy import Fault, FaultyProxy
from tests.faults.load import Load, grpc_submit
from tests.faults.processes import POLL_SECONDS, Server
from tests.grpc_client import Connect

SERVERS = 2
FAULTS_SECONDS = 60.0  # within which the faults of one round have happened: a test fails instead of hanging
RECOVERY_SECONDS = 30.0  # likewise


class NetworkFaults(NamedTuple):
    load: Load
    faults: Counter[Fault]


async def endure_network_faults(database_url: str, connect: Connect, losses: int, seed: int) -> NetworkFaults:
    """Causes faults until this number of connections has lost data. Then every server must be well again."""
    with FaultyProxy(database_url, seed) as proxy:
        async with AsyncExitStack() as stack:
            running = (Server.running(proxy.url, connect) for _ in range(SERVERS))
            servers = await asyncio.gather(*map(stack.enter_async_context, running))
            submit = grpc_submit([server.channel for server in servers])
            load = await stack.enter_async_context(Load.running(submit, f"{seed}-"))
            proxy.start()
            async with asyncio.timeout(FAULTS_SECONDS):
                while proxy.faults[Fault.LOSS] < losses:
                    await asyncio.sleep(POLL_SECONDS)
            proxy.stop()
            await load.wait_for_answers(within=RECOVERY_SECONDS)
            for server in servers:
                await server.wait_for_health(serving=True, within=RECOVERY_SECONDS)
    return NetworkFaults(load, proxy.faults)
