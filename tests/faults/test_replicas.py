"""Several replicas under a continuous load over REST and gRPC: the service survives their loss and their replacement.

In both layouts: whole processes that share their addresses, and servers behind one gateway.
"""

import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import pytest
from mentorsync.storage.postgres.heads import LOG_LOCK
from mentorsync.time_limits import (
    CLOSE_SECONDS,
    END_SECONDS,
    MAX_FAILED_PINGS,
    PING_PAUSE_SECONDS,
    PING_SECONDS,
    STOP_SECONDS,
)

from tests.edge.certificates import Authority
from tests.edge.tokens import Issuer, bearer, jwt_settings
from tests.faults.callers import Callers, snapshot
from tests.faults.damage import check_database
from tests.faults.load import CALL_SECONDS, Load, grpc_submit, rest_submit, send
from tests.faults.processes import MENTORSYNC, POLL_SECONDS, Up
from tests.grpc_client import Connect
from tests.postgres_server import PostgresServer
from tests.up_process import PREFIX

CHANNELS = 4  # each has its own connection: the kernel spreads them over the replicas
CALLERS = 16
ANSWERS_BEFORE_STOP = 200
HELD_UP_SECONDS = STOP_SECONDS - END_SECONDS  # what a stop takes that waits for calls until its time is over
ATTEMPTS = 4  # to start a replica while there is no database
RECOVERY_SECONDS = 30  # far longer than any recovery: a test fails instead of hanging
WAITING_WRITERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
FROZEN_SECONDS = {  # until a call that reached a frozen replica fails, and 3 s for a busy machine
    (): PING_PAUSE_SECONDS + MAX_FAILED_PINGS * (PING_SECONDS + PING_PAUSE_SECONDS) + 3,
    ("--separate",): 3 + 3,  # the gateway pings every second, and waits 2 s for the answer
}


class Loaded(NamedTuple):
    up: Up
    loads: list[Load]

    async def wait_for_answers(self) -> None:
        for load in self.loads:
            await load.wait_for_answers(within=RECOVERY_SECONDS)

    async def wait_for_refusals(self) -> None:
        for load in self.loads:
            await load.wait_for_refusals(within=RECOVERY_SECONDS)


StartLoaded = Callable[..., AbstractAsyncContextManager[Loaded]]


@pytest.fixture(params=[(), ("--separate",)], ids=["whole", "separate"])
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    flags: tuple[str, ...] = request.param
    return flags


@pytest.fixture
def loaded(postgres: PostgresServer, connect: Connect) -> StartLoaded:
    """Starts replicas and a load over each transport. At the end every answered write must be in the database once."""

    @asynccontextmanager
    async def loaded(*flags: str, replicas: int = 2, may_break: bool = False) -> AsyncIterator[Loaded]:
        url = postgres.url("mentorsync")
        async with Up.running(url, replicas, *flags) as up:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(httpx.AsyncClient(base_url=up.rest, timeout=20))
                channels = [await stack.enter_async_context(connect(up.grpc)) for _ in range(CHANNELS)]
                rest = rest_submit(client, may_break=may_break and not flags)
                grpc = grpc_submit(channels, may_break=may_break)
                loads = [
                    await stack.enter_async_context(Load.running(rest, "rest-")),
                    await stack.enter_async_context(Load.running(grpc, "grpc-")),
                ]
                yield Loaded(up, loads)
            check_database(url, *loads)

    return loaded


async def test_replacement_on_hangup(loaded: StartLoaded) -> None:
    """SIGHUP replaces all replicas. No call fails, /healthz stays 200, and the replicas keep their own addresses."""
    async with loaded() as service, probed(service.up):
        before = service.up.replicas()
        service.up.signal(signal.SIGHUP)
        await service.up.wait_until_replaced(*before)
        await service.wait_for_answers()
        for load in service.loads:
            assert not load.unavailable
        async with httpx.AsyncClient() as client:
            for admin in service.up.admin:
                assert (await client.get(f"{admin}/ready")).text == "LIVE\n"


async def test_replacement_on_hangup_with_locks(postgres: PostgresServer, tmp_path: Path) -> None:
    """With TLS and tokens no call fails either, and the new processes show a certificate that was put in meanwhile."""
    authority, issuer, keys = Authority(tmp_path), Issuer(), tmp_path / "keys.json"
    issuer.publish(keys)
    pair = authority.issue("server", "127.0.0.1")
    trusted = ssl.create_default_context(cafile=authority.ca)
    headers = bearer(issuer.administrator())
    url = postgres.url("mentorsync")
    async with (
        Up.running(url, 2, **pair.settings, **jwt_settings(keys)) as up,
        httpx.AsyncClient(base_url=up.rest, verify=trusted, headers=headers, timeout=20) as client,
        Load.running(rest_submit(client), "rest-") as load,
    ):
        await load.wait_for_answers()
        authority.issue("server", "127.0.0.1")
        before = up.replicas()
        up.signal(signal.SIGHUP)
        await up.wait_until_replaced(*before)
        await load.wait_for_answers(within=RECOVERY_SECONDS)
        shown = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", client.base_url.port or 0))
        assert shown == pair.certificate.read_text()
        assert not load.unavailable
    check_database(url, load)


@asynccontextmanager
async def probed(up: Up) -> AsyncIterator[None]:
    """Asks for the health meanwhile, on a new connection each time, as load balancers do. It must always be good."""

    async def probe() -> None:
        async with httpx.AsyncClient(base_url=up.rest, timeout=20) as client:
            while True:
                answer = await send(client, "GET", "/healthz", headers={"connection": "close"})
                assert answer.status_code == httpx.codes.OK
                await asyncio.sleep(POLL_SECONDS)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(probe())
        yield
        task.cancel()


async def test_a_rolling_restart_by_hand(loaded: StartLoaded) -> None:
    """Each server behind the gateway in turn gets SIGTERM and is started again. No call fails."""
    async with loaded("--separate") as service:
        for pid in service.up.replicas():
            os.kill(pid, signal.SIGTERM)
            await service.up.wait_until_replaced(pid)
            await service.wait_for_answers()
        for load in service.loads:
            assert not load.unavailable


async def test_replicas_and_the_database_are_killed(
    loaded: StartLoaded, postgres: PostgresServer, flags: tuple[str, ...]
) -> None:
    """Callers that repeat what failed lose nothing, and the service recovers automatically."""
    async with loaded(*flags, may_break=True) as service:
        for pid in service.up.replicas():
            os.kill(pid, signal.SIGKILL)
            await service.wait_for_answers()
            await service.up.wait_until_replaced(pid)
        postgres.kill()
        await service.wait_for_refusals()
        killed, *_ = service.up.replicas()
        os.kill(killed, signal.SIGKILL)  # there is no database to start again on
        await service.wait_for_refusals()
        await asyncio.to_thread(postgres.start)
        await service.wait_for_answers()
        await service.up.wait_until_replaced(killed)


@asynccontextmanager
async def every_writer_waiting(url: str) -> AsyncIterator[None]:
    """Holds the log's lock, and starts the body once both writers wait for it, each with all its statements sent.

    A replica that froze between two statements would hold the lock until PostgreSQL notices that it is gone.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_advisory_lock({LOG_LOCK})")
        async with asyncio.timeout(RECOVERY_SECONDS):
            while connection.execute(WAITING_WRITERS).fetchone() != (2,):
                await asyncio.sleep(POLL_SECONDS)
        yield


async def test_a_replica_that_hangs(loaded: StartLoaded, flags: tuple[str, ...], postgres: PostgresServer) -> None:
    """Its calls fail within seconds, long before their deadline. A whole process that hangs is replaced."""
    async with loaded(*flags, may_break=True) as service:
        frozen, *_ = service.up.replicas()
        async with every_writer_waiting(postgres.url("mentorsync")):
            os.kill(frozen, signal.SIGSTOP)
        while not any(load.unavailable for load in service.loads):
            await asyncio.sleep(POLL_SECONDS)
        await service.wait_for_answers()
        if flags:
            os.kill(frozen, signal.SIGCONT)
        else:
            await service.up.wait_until_replaced(frozen)
        await service.wait_for_answers()
    for load in service.loads:
        assert load.slowest < FROZEN_SECONDS[flags]


async def test_the_database_hangs(loaded: StartLoaded, postgres: PostgresServer) -> None:
    """Whole processes that have no database are not taken for hung ones: the same go on when it is back."""
    async with loaded(may_break=True) as service:
        before = service.up.replicas()
        postgres.freeze()
        await service.wait_for_refusals()
        postgres.thaw()
        await service.wait_for_answers()
        assert service.up.replicas() == before
    for load in service.loads:
        assert load.slowest < CALL_SECONDS


async def test_a_replica_that_cannot_start_reports_the_cause_once(
    postgres: PostgresServer, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """However often it is tried. When it is ready again, one line says so."""
    log = tmp_path / "log"
    program = ("/bin/sh", "-c", f'exec "$@" 2>{log}', "sh", *MENTORSYNC)
    async with Up.running(postgres.url("mentorsync"), 2, *flags, program=program) as up:
        others = set(up.parts())
        killed, *_ = up.replicas()
        postgres.kill()
        os.kill(killed, signal.SIGKILL)
        tried: set[int] = set()
        async with asyncio.timeout(RECOVERY_SECONDS):
            while len(tried) < ATTEMPTS:
                tried |= set(up.parts()) - others
                await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while "ready again" not in log.read_text():
                await asyncio.sleep(POLL_SECONDS)
    lines = log.read_text().splitlines()
    ended, *causes, ready, _stopping = [line for line in lines if line.startswith(PREFIX)]
    name = ended.partition(" ended by SIGKILL")[0]
    assert ready == f"{name} is ready again"
    assert "cannot be reached: connection failed" in causes[0]
    assert len(set(causes)) == len(causes)  # a database that is starting is another cause
    assert not any("Failed to" in line for line in lines)  # Envoy's words for the same


async def test_replicas_where_envoy_cannot_host_python(postgres: PostgresServer, connect: Connect) -> None:
    """`up` runs as many servers behind one gateway instead, and restarts one that ends."""
    program = (sys.executable, "-m", "tests.faults.without_libpython")
    async with Up.running(postgres.url("mentorsync"), 2, program=program) as up:
        async with httpx.AsyncClient(base_url=up.rest, timeout=20) as client, connect(up.grpc) as channel:
            sync_event_id = await rest_submit(client)("mntr_1", "reason", "key")
            assert await grpc_submit([channel])("mntr_1", "reason", "key") == sync_event_id
        killed, _ = up.replicas()
        os.kill(killed, signal.SIGKILL)
        await up.wait_until_replaced(killed)


async def test_a_stop_under_load(postgres: PostgresServer) -> None:
    """All whole processes stop at once, no request goes unanswered, and callers can connect again for a moment."""
    async with Up.running(postgres.url("mentorsync"), 2) as up:
        callers = Callers.of(up.rest)
        tasks = [asyncio.create_task(callers.call_until_refused(snapshot())) for _ in range(CALLERS)]
        while callers.answers < ANSWERS_BEFORE_STOP:
            await asyncio.sleep(POLL_SECONDS)
        started = time.monotonic()
        up.signal(signal.SIGTERM)
        await asyncio.gather(*tasks)
        assert CLOSE_SECONDS < time.monotonic() - started < HELD_UP_SECONDS
    assert not callers.unanswered
    assert callers.closed > CALLERS
    assert callers.statuses.keys() == {b"404"}  # a mentor without events
