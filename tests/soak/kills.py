"""kill -9 under load, in rounds, on both engines at the same time: `make soak-kills`."""

import asyncio
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.progress import Progress
from tests.databases import migrate_database
from tests.faults.damage import check_database, find_damage
from tests.faults.kill_rounds import kill_in_rounds
from tests.grpc_client import open_channel
from tests.postgres_server import migrated_server
from tests.soak.soaking import Outcome, Row, soak

ROUNDS, QUICK_ROUNDS = 1_000, 10  # on each engine
TOLD_ROUNDS = 10  # between two lines of progress


def run(is_quick: bool, seed: int) -> Outcome:
    rounds = QUICK_ROUNDS if is_quick else ROUNDS
    with TemporaryDirectory() as directory, migrated_server() as postgres:
        sqlite_url = f"sqlite:///{Path(directory, 'mentorsync.db')}"
        migrate_database(sqlite_url)
        rows = asyncio.run(kill_on_both({"SQLite": sqlite_url, "PostgreSQL": postgres.url("mentorsync")}, rounds, seed))
    return Outcome(rows, all(row["lost"] == row["doubled"] == 0 for row in rows))


async def kill_on_both(urls: dict[str, str], rounds: int, seed: int) -> list[Row]:
    progress = Progress(len(urls) * rounds // TOLD_ROUNDS)
    return await asyncio.gather(*(kill_on(engine, url, rounds, seed, progress) for engine, url in urls.items()))


async def kill_on(engine: str, url: str, rounds: int, seed: int, progress: Progress) -> Row:
    def tell(kills: int) -> None:
        if kills % TOLD_ROUNDS == 0:
            progress.step(f"{kills} kills on {engine}")

    outcome = await kill_in_rounds(url, open_channel, rounds, seed, tell)
    damage = await asyncio.to_thread(find_damage, url, outcome.load)
    if damage == (0, 0):
        await asyncio.to_thread(check_database, url, outcome.load)
    return {
        "engine": engine,
        "kills": outcome.kills,
        "answered": len(outcome.load.answered),
        "in flight at a kill": len(outcome.load.unavailable),
        "lost": damage.lost,
        "doubled": damage.doubled,
        "median seconds until the next answer": round(statistics.median(outcome.seconds), 2),
        "longest": round(max(outcome.seconds), 2),
    }


if __name__ == "__main__":
    soak("kills", run, __doc__)
