"""The database fails under load: no answered write is lost or doubled, and the service recovers automatically."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import NamedTuple

import grpc
import httpx
import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.postgres import heads
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.store import PostgresStore
from mentorsync.storage.store import Commit

from tests.faults.damage import check_database
from tests.faults.load import CALL_SECONDS, Load, Submit, UnavailableError, grpc_submit, rest_submit
from tests.faults.network_faults import endure_network_faults
from tests.faults.processes import POLL_SECONDS, Server, Up
from tests.grpc_client import Connect, failure
from tests.postgres_server import PostgresServer
from tests.storage.commit_proxy import CommitProxy

FLOOD = 2_000  # far more than a server's queue holds
FLOOD_SECONDS = 30.0  # a busy machine needs seconds to send a flood's refusals, all at the same moment
MOST_WAITING = 1_024 + 256  # a full queue, and a batch that was just taken from it
SILENCE_SECONDS = 6.0  # without an answer, after which a server closes a connection
RECOVERY_SECONDS = 30  # far longer than any recovery: a test fails instead of hanging
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mentorsync'"
HANGS_IN_A_BATCH = (
    "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
    "AND clock_timestamp() - state_change > interval '0.1 s'"
)
REPLICATION = "SELECT sync_state FROM pg_stat_replication"
WAITS_FOR_THE_STANDBY = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE wait_event = 'SyncRep' AND clock_timestamp() - query_start > interval '0.5 s'"
)
WAITS_FOR_THE_LOG = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def start_servers(stack: AsyncExitStack, url: str, connect: Connect, count: int) -> list[Server]:
    return list(await asyncio.gather(*(stack.enter_async_context(Server.running(url, connect)) for _ in range(count))))


async def start_both(stack: AsyncExitStack, url: str, connect: Connect) -> tuple[Server, Server, Up]:
    """A server of each layout, and the `up` of the second."""
    (one,) = await start_servers(stack, url, connect, 1)
    up = await stack.enter_async_context(Up.running(url, 1))
    return one, Server(up.pid, await stack.enter_async_context(connect(up.grpc))), up


class Loaded(NamedTuple):
    servers: list[Server]
    loads: list[Load]

    async def wait_for_answers(self) -> None:
        for load in self.loads:
            await load.wait_for_answers(within=RECOVERY_SECONDS)

    async def wait_for_refusals(self) -> None:
        for load in self.loads:
            await load.wait_for_refusals(within=RECOVERY_SECONDS)


@asynccontextmanager
async def loaded(url: str, connect: Connect) -> AsyncIterator[Loaded]:
    """A server of each layout on one database, with a load over gRPC on both and one over REST."""
    async with AsyncExitStack() as stack:
        one, whole, up = await start_both(stack, url, connect)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=up.rest, timeout=2 * CALL_SECONDS))
        grpc_load = Load.running(grpc_submit([one.channel, whole.channel]), "grpc-")
        rest_load = Load.running(rest_submit(client), "rest-")
        loads = [await stack.enter_async_context(load) for load in (grpc_load, rest_load)]
        yield Loaded([one, whole], loads)


async def flood(submit: Submit) -> list[str]:
    """Submits many events at once, which must all be refused, and returns the reasons."""
    submits = (submit("mntr_flood", f"flood-{number}", None) for number in range(FLOOD))
    refusals = await asyncio.gather(*submits, return_exceptions=True)
    others = [refusal for refusal in refusals if not isinstance(refusal, UnavailableError)]
    assert not others, others[0]
    return [str(refusal) for refusal in refusals]


async def test_the_database_is_killed_and_started_again(postgres: PostgresServer, connect: Connect) -> None:
    """During the outage health is NOT_SERVING and every call fails within its deadline. Then all recovers."""
    url = postgres.url("mentorsync")
    async with loaded(url, connect) as service:
        postgres.kill()
        await service.wait_for_refusals()
        for one in service.servers:
            await one.wait_for_health(serving=False)
            read = MentorStatusSyncStub(one.channel).GetMentorStatus(pb.GetMentorStatusRequest(mentor_id="mntr_1"))
            refusal = await failure(read)
            assert refusal.code is grpc.StatusCode.UNAVAILABLE
            assert "RetryInfo" in refusal.details
        await asyncio.to_thread(postgres.start)
        await service.wait_for_answers()
        for one in service.servers:
            await one.wait_for_health(serving=True)
    assert all(load.slowest < CALL_SECONDS for load in service.loads)
    check_database(url, *service.loads)


async def test_a_flood_while_the_database_is_down_is_refused(postgres: PostgresServer, connect: Connect) -> None:
    """Only the first write waits for the database. The others are refused before they fill the queue."""
    async with AsyncExitStack() as stack:
        servers = await start_both(stack, postgres.url("mentorsync"), connect)
        postgres.kill()
        for one in servers[:2]:
            submit = grpc_submit([one.channel], seconds=FLOOD_SECONDS)
            with pytest.raises(UnavailableError):
                await submit("mntr_1", "first", None)
            assert set(await flood(submit)) == {"STORAGE_UNAVAILABLE"}


async def test_the_database_hangs_for_a_while(postgres: PostgresServer, connect: Connect) -> None:
    """A silent database is an outage: calls fail in time, health is NOT_SERVING, and the queue is bounded."""
    url = postgres.url("mentorsync")
    async with AsyncExitStack() as stack:
        (one,) = await start_servers(stack, url, connect, 1)
        submit = grpc_submit([one.channel], seconds=FLOOD_SECONDS)
        load = await stack.enter_async_context(Load.running(submit))
        postgres.freeze()
        read = MentorStatusSyncStub(one.channel).ListSyncEvents(pb.ListSyncEventsRequest(), timeout=CALL_SECONDS)
        await one.wait_for_health(serving=False)
        await load.wait_for_refusals()
        assert load.slowest < CALL_SECONDS
        assert "RetryInfo" in (await failure(read)).details
        reasons = Counter(await flood(submit))
        assert reasons.keys() == {"OVERLOADED", "STORAGE_UNAVAILABLE"}
        assert reasons["OVERLOADED"] >= FLOOD - MOST_WAITING
        postgres.thaw()
        await load.wait_for_answers(within=RECOVERY_SECONDS)
        await one.wait_for_health(serving=True)
    check_database(url, load)


async def test_connections_that_an_administrator_ends(postgres: PostgresServer, connect: Connect) -> None:
    """Each connection is opened again, and no call fails."""
    url = postgres.url("mentorsync")
    async with loaded(url, connect) as service:
        for _ in range(5):
            assert await asyncio.to_thread(postgres.execute, END_ALL)
            await service.wait_for_answers()
    assert not any(load.unavailable for load in service.loads)
    check_database(url, *service.loads)


async def test_connections_that_are_cut_at_commit(postgres: PostgresServer, connect: Connect) -> None:
    """The cut comes before the COMMIT or before its answer. The server looks up the outcome, and no call fails."""
    url = postgres.url("mentorsync")
    with CommitProxy(url) as proxy:
        async with loaded(proxy.url, connect) as service:
            for cut in (proxy.cut_before_answer, proxy.cut_before_commit) * 3:
                cut()
                proxy.mend()
                assert await asyncio.to_thread(proxy.cut.wait, RECOVERY_SECONDS)
                await service.wait_for_answers()
    assert not any(load.unavailable for load in service.loads)
    check_database(url, *service.loads)


async def test_an_answer_to_commit_that_never_comes(postgres: PostgresServer, connect: Connect) -> None:
    """The connection stays open and silent. The server closes it, and looks up the outcome of the COMMIT."""
    url = postgres.url("mentorsync")
    with CommitProxy(url) as proxy:
        async with AsyncExitStack() as stack:
            (one,) = await start_servers(stack, proxy.url, connect, 1)
            load = await stack.enter_async_context(Load.running(grpc_submit([one.channel])))
            proxy.swallow_answer()
            assert await asyncio.to_thread(proxy.cut.wait, RECOVERY_SECONDS)
            await load.wait_for_answers(within=RECOVERY_SECONDS)
    assert not load.unavailable
    assert SILENCE_SECONDS < load.slowest < CALL_SECONDS
    check_database(url, load)


async def freeze_inside_a_batch(one: Server, postgres: PostgresServer) -> None:
    while True:
        one.freeze()
        for _ in range(8):
            if await asyncio.to_thread(postgres.execute, HANGS_IN_A_BATCH):
                return
            await asyncio.sleep(POLL_SECONDS)
        one.thaw()
        await asyncio.sleep(POLL_SECONDS)


async def test_a_network_with_faults(postgres: PostgresServer, connect: Connect) -> None:
    """Data is late, cut off, or lost, and every call is answered in time. Refused calls may be repeated."""
    url = postgres.url("mentorsync")
    outcome = await endure_network_faults(url, connect, losses=1, seed=1)
    assert outcome.load.slowest < CALL_SECONDS
    check_database(url, outcome.load)


@pytest.mark.parametrize("frozen_count", [1, 2])
async def test_replicas_that_hang_inside_a_batch(postgres: PostgresServer, connect: Connect, frozen_count: int) -> None:
    """A frozen replica loses the log's lock: no write of the others fails, and the frozen ones recover later."""
    url = postgres.url("mentorsync")
    async with AsyncExitStack() as stack:
        *frozen, survivor = await start_servers(stack, url, connect, frozen_count + 1)
        loads = [
            await stack.enter_async_context(Load.running(grpc_submit([one.channel], may_time_out=True), f"{number}-"))
            for number, one in enumerate((*frozen, survivor))
        ]
        await freeze_inside_a_batch(frozen[0], postgres)
        for one in frozen[1:]:
            while not await asyncio.to_thread(postgres.execute, WAITS_FOR_THE_LOG):
                await asyncio.sleep(POLL_SECONDS)
            one.freeze()
        await loads[-1].wait_for_answers(within=RECOVERY_SECONDS)
        for one in frozen:
            one.thaw()
        for load in loads:
            await load.wait_for_answers(within=RECOVERY_SECONDS)
    assert not loads[-1].unavailable
    check_database(url, *loads)


class WaitingBatch(NamedTuple):
    store: PostgresStore
    batch: asyncio.Task[Commit]
    standby: PostgresServer


@asynccontextmanager
async def waiting_for_a_standby(postgres: PostgresServer, submit: SubmitOperation) -> AsyncIterator[WaitingBatch]:
    """A batch with this operation, whose COMMIT waits for a synchronous standby that is frozen."""
    engine = PostgresEngine(postgres.url("mentorsync"))
    standby = await asyncio.to_thread(postgres.standby)
    try:
        postgres.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        postgres.execute("SELECT pg_reload_conf()")
        standby.freeze()
        store = engine.open_store()
        batch = asyncio.create_task(asyncio.to_thread(store.transact, [submit]))
        while not postgres.execute(WAITS_FOR_THE_STANDBY):
            await asyncio.sleep(POLL_SECONDS)
        yield WaitingBatch(store, batch, standby)
    finally:
        engine.close()
        standby.stop()


async def test_a_standby_that_hangs(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A COMMIT waits for its synchronous standby for longer than a server may keep the log, and then succeeds."""
    monkeypatch.setattr(
        heads, "LOCK_LOG_WITH_LIMIT", f"{heads.LOCK_LOG}, set_config('transaction_timeout', '0.1s', true)"
    )
    submit = SubmitOperation("mntr_1", EventType.PAUSE, "", None, "key")
    async with waiting_for_a_standby(postgres, submit) as (store, batch, standby):
        assert not batch.done()
        standby.thaw()
        assert (await batch).outcomes == store.transact([submit]).outcomes


async def test_a_commit_that_is_cut_off_while_it_waits_for_a_standby(postgres: PostgresServer) -> None:
    """The primary shows the batch before the standby has it. The answer comes once the standby has it, too."""
    submit = SubmitOperation("mntr_1", EventType.PAUSE, "", None, None)
    async with waiting_for_a_standby(postgres, submit) as (_, batch, standby):
        cut = postgres.execute(WAITS_FOR_THE_STANDBY)
        postgres.execute(END_ALL)
        while postgres.execute(WAITS_FOR_THE_STANDBY) in ([], cut) and not batch.done():
            await asyncio.sleep(POLL_SECONDS)
        assert not batch.done()
        standby.thaw()
        assert (await batch).head.last_revision == 1
        assert postgres.execute("SELECT count(*) FROM events", "mentorsync") == [(1,)]


async def test_a_standby_that_lacks_a_batch_is_not_asked_for_its_outcome(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A balancer leads to it after a connection was lost at COMMIT. Then the primary is found, which has the batch."""
    standby = await asyncio.to_thread(postgres.standby)
    with CommitProxy(postgres.url("mentorsync")) as proxy, closing(PostgresEngine(proxy.url)) as engine:
        try:
            store = engine.open_store()
            submit = SubmitOperation("mntr_1", EventType.PAUSE, "", None, None)
            store.transact([submit])
            while standby.execute("SELECT count(*) FROM events", "mentorsync") != [(1,)]:
                await asyncio.sleep(POLL_SECONDS)
            standby.execute("SELECT pg_wal_replay_pause()")
            proxy.cut_before_answer()
            batch = asyncio.create_task(asyncio.to_thread(store.transact, [submit]))
            assert await asyncio.to_thread(proxy.cut.wait, RECOVERY_SECONDS)
            proxy.lead_to(standby.url("mentorsync"))
            proxy.mend()
            while "read-only" not in caplog.text and not batch.done():
                await asyncio.sleep(POLL_SECONDS)
            proxy.lead_to(postgres.url("mentorsync"))
            (event,) = (await batch).outcomes
            assert isinstance(event, SyncEvent)
            stored = postgres.execute("SELECT sequence, sync_event_id FROM events ORDER BY sequence", "mentorsync")
            assert stored[1:] == [(2, event.sync_event_id)]
        finally:
            standby.stop()


async def test_a_standby_takes_over(postgres: PostgresServer, connect: Connect) -> None:
    """With a synchronous standby and a URL that names both, the loss of the primary loses nothing."""
    standby = await asyncio.to_thread(postgres.standby)
    try:
        postgres.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        postgres.execute("SELECT pg_reload_conf()")
        hosts = f"127.0.0.1:{postgres.port},127.0.0.1:{standby.port}"
        url = f"postgresql://postgres@{hosts}/mentorsync?target_session_attrs=read-write"
        async with loaded(url, connect) as service:
            while postgres.execute(REPLICATION) != [("sync",)]:
                await asyncio.sleep(POLL_SECONDS)
            postgres.kill()
            await service.wait_for_refusals()
            await asyncio.to_thread(standby.promote)
            await service.wait_for_answers()
            for one in service.servers:
                await one.wait_for_health(serving=True)
        assert all(load.slowest < CALL_SECONDS for load in service.loads)
        check_database(standby.url("mentorsync"), *service.loads)
    finally:
        standby.stop()
