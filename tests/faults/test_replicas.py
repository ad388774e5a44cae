"""Several replicas behind one gateway, under a continuous REST load: the service survives the loss of replicas."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.faults.load import Load, check_database, rest_submit
from tests.faults.processes import Up
from tests.grpc_client import Connect
from tests.postgres_server import PostgresServer

REPLICAS = 3
RECOVERY_SECONDS = 10
FROZEN_SECONDS = 5.0  # a ping every second, 2 s to answer it, and the time of a loaded machine


@asynccontextmanager
async def loaded(postgres: PostgresServer, connect: Connect) -> AsyncIterator[tuple[Up, Load]]:
    """Replicas under load. At the end every answered write must be in the database once."""
    url = postgres.url("mentorsync")
    async with Up.running(url, REPLICAS, connect) as up:
        async with httpx.AsyncClient(base_url=up.rest, timeout=20) as client, Load.running(rest_submit(client)) as load:
            yield up, load
        check_database(url, load)


async def test_a_rolling_restart(postgres: PostgresServer, connect: Connect) -> None:
    """Each replica in turn gets SIGTERM and is started again. No call fails."""
    async with loaded(postgres, connect) as (up, load):
        for pid in up.servers():
            os.kill(pid, signal.SIGTERM)
            await up.wait_until_replaced(pid)
            await load.wait_for_answers()
        assert not load.unavailable


async def test_replicas_and_the_database_are_killed(postgres: PostgresServer, connect: Connect) -> None:
    """Callers that repeat calls that failed with 503 lose nothing, and the service recovers automatically."""
    async with loaded(postgres, connect) as (up, load):
        for pid in up.servers():
            os.kill(pid, signal.SIGKILL)
            await load.wait_for_answers(within=RECOVERY_SECONDS)
            await up.wait_until_replaced(pid)
        postgres.kill()
        await load.wait_for_refusals()
        killed, *_ = up.servers()
        os.kill(killed, signal.SIGKILL)  # there is no database to start again on
        await load.wait_for_refusals()
        await asyncio.to_thread(postgres.start)
        await load.wait_for_answers(within=RECOVERY_SECONDS)
        await up.wait_until_replaced(killed)


async def test_a_replica_that_hangs(postgres: PostgresServer, connect: Connect) -> None:
    """Its calls fail with 503 within seconds, long before their deadline."""
    async with loaded(postgres, connect) as (up, load):
        frozen, *_ = up.servers()
        os.kill(frozen, signal.SIGSTOP)
        await load.wait_for_refusals()
        await load.wait_for_answers(within=RECOVERY_SECONDS)
        os.kill(frozen, signal.SIGCONT)
        await load.wait_for_answers()
    assert load.slowest < FROZEN_SECONDS
