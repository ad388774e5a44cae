"""A primary that is lost under load, and a standby that Patroni promotes, in rounds: `make soak-failover`.

The service has one URL with all servers. Each promotion begins a new timeline of PostgreSQL.
"""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

import psycopg

from tests.benchmarks.progress import Progress
from tests.databases import execute, migrate_database
from tests.faults.damage import check_database, find_damage
from tests.faults.load import CALL_SECONDS, Load, grpc_submit
from tests.faults.patroni import POLL_SECONDS, Cluster, running_cluster
from tests.faults.processes import Server
from tests.grpc_client import open_channel
from tests.soak.soaking import Outcome, Row, soak

ROUNDS, QUICK_ROUNDS = 10, 1
OUTAGE_SECONDS = 60.0  # the lease of a lost primary, an election, and a promotion
MOST_SECONDS_AFTER_PROMOTION = 10.0
TIMELINE = "SELECT timeline_id FROM pg_control_checkpoint()"


def run(is_quick: bool, _seed: int) -> Outcome:
    rounds = QUICK_ROUNDS if is_quick else ROUNDS
    with running_cluster() as cluster:
        cluster.wait_for_synchronous_standby()
        execute(cluster.url("postgres"), "CREATE DATABASE mentorsync")
        migrate_database(cluster.url("mentorsync"))
        row = asyncio.run(fail_over(cluster, rounds))
    is_in_time = row["longest seconds from promotion to a write"] <= MOST_SECONDS_AFTER_PROMOTION
    return Outcome([row], row["lost"] == row["doubled"] == 0 and is_in_time and row["slowest call"] < CALL_SECONDS)


async def fail_over(cluster: Cluster, rounds: int) -> Row:
    url = cluster.url("mentorsync")
    progress = Progress(rounds)
    outages: list[float] = []
    after_promotion: list[float] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server.running(url, open_channel))
        load = await stack.enter_async_context(Load.running(grpc_submit([server.channel])))
        for _ in range(rounds):
            primary = await asyncio.to_thread(cluster.wait_for_synchronous_standby)
            await load.wait_for_answers()
            await asyncio.to_thread(primary.kill)
            killed = time.monotonic()
            await asyncio.to_thread(wait_for_primary, url)
            promoted = time.monotonic()
            await load.wait_for_answers(1, within=OUTAGE_SECONDS)
            outages.append(time.monotonic() - killed)
            after_promotion.append(time.monotonic() - promoted)
            primary.start()
            progress.step(f"{outages[-1]:.1f} s without a write")
        await asyncio.to_thread(cluster.wait_for_synchronous_standby)
    damage = find_damage(url, load)
    if damage == (0, 0):
        check_database(url, load)
    return {
        "failovers": rounds,
        "timeline at the end": execute(url, TIMELINE)[0][0],
        "answered": len(load.answered),
        "refused": len(load.unavailable),
        "lost": damage.lost,
        "doubled": damage.doubled,
        "median seconds without a write": round(statistics.median(outages), 1),
        "longest": round(max(outages), 1),
        "longest seconds from promotion to a write": round(max(after_promotion), 1),
        "slowest call": round(load.slowest, 1),
    }


def wait_for_primary(url: str) -> None:
    """Waits until one of the servers takes writes."""
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "no standby was promoted"
            time.sleep(POLL_SECONDS)
        else:
            return


if __name__ == "__main__":
    soak("failover", run, __doc__)
