"""Several replicas behind one gateway, under a continuous load of REST: they come and go, the service stays."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.faults.load import Load, check, rest_submit
from tests.faults.processes import Up
from tests.grpc_client import Connect
from tests.postgres_server import PostgresServer

REPLICAS = 3
RECOVERY_SECONDS = 10
FROZEN_SECONDS = 5.0  # a ping every second, 2 s to answer it, and the time of a loaded machine


@asynccontextmanager
async def loaded(postgres: PostgresServer, connect: Connect) -> AsyncIterator[tuple[Up, Load]]:
    """Replicas under load. In the end, every answered write must be there once."""
    url = postgres.url("mentorsync")
    async with Up.on(url, REPLICAS, connect) as up:
        async with httpx.AsyncClient(base_url=up.rest, timeout=20) as client, Load.on(rest_submit(client)) as load:
            yield up, load
        check(url, load)


async def test_a_rolling_restart(postgres: PostgresServer, connect: Connect) -> None:
    """Each replica in turn is told to stop, and started again: no caller sees an error."""
    async with loaded(postgres, connect) as (up, load):
        for pid in up.servers():
            os.kill(pid, signal.SIGTERM)
            await up.is_whole_without(pid)
            await load.goes_on()
        assert not load.unavailable


async def test_replicas_and_the_database_are_killed(postgres: PostgresServer, connect: Connect) -> None:
    """Callers that repeat what was answered with 503 lose nothing, and the load goes on by itself."""
    async with loaded(postgres, connect) as (up, load):
        for pid in up.servers():
            os.kill(pid, signal.SIGKILL)
            await load.goes_on(within=RECOVERY_SECONDS)
            await up.is_whole_without(pid)
        postgres.kill()
        await load.is_refused()
        killed, *_ = up.servers()
        os.kill(killed, signal.SIGKILL)  # there is no database to start again on
        await load.is_refused()
        await asyncio.to_thread(postgres.start)
        await load.goes_on(within=RECOVERY_SECONDS)
        await up.is_whole_without(killed)


async def test_a_replica_that_stands_still(postgres: PostgresServer, connect: Connect) -> None:
    """Who waits for it is told to try again within seconds, not at the end of the time that a call may take."""
    async with loaded(postgres, connect) as (up, load):
        frozen, *_ = up.servers()
        os.kill(frozen, signal.SIGSTOP)
        await load.is_refused()
        await load.goes_on(within=RECOVERY_SECONDS)
        os.kill(frozen, signal.SIGCONT)
        await load.goes_on()
    assert load.slowest < FROZEN_SECONDS
