"""Puts the live feed under random faults and validates what every receiver saw: `make soak-feed`.

Writes .benchmarks/feed-soak.json, prints the figures, and exits with 1 if a history is wrong.
"""

import asyncio
import json
import random
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.benchmarks.results import result_path
from tests.feed.rounds import Figures, Run
from tests.feed.sites import postgres_site, sqlite_site
from tests.postgres_server import server_directory

RUNS, ROUNDS = 20, 25  # on each engine: each run has a new database, one restored backup, and one failover
QUICK_RUNS, QUICK_ROUNDS = 1, 20
SHOWN_VIOLATIONS = 20


def main() -> None:
    parser = ArgumentParser(prog="make soak-feed", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_RUNS} run of {QUICK_ROUNDS} rounds on each engine"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    arguments = parser.parse_args()
    runs, rounds = (QUICK_RUNS, QUICK_ROUNDS) if arguments.quick else (RUNS, ROUNDS)
    soak = Soak(arguments.seed)
    asyncio.run(soak.run(runs, rounds))
    violations = [line for figures in soak.engines.values() for line in figures.violations]
    for line in violations[:SHOWN_VIOLATIONS]:
        say(line)
    say(f"{sum(sum(one.rounds.values()) for one in soak.engines.values())} rounds, {len(violations)} violations")
    sys.exit(bool(violations))


class Soak:
    """Both engines at the same time, which wait for most of the time. The result is written after each run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._started = time.monotonic()
        self.engines = {"SQLite": Figures(), "PostgreSQL": Figures()}

    async def run(self, runs: int, rounds: int) -> None:
        async with asyncio.TaskGroup() as group:
            for engine in self.engines:
                group.create_task(self._run_engine(engine, runs, rounds))

    async def _run_engine(self, engine: str, runs: int, rounds: int) -> None:
        figures = self.engines[engine]
        for seed in range(self._seed, self._seed + runs):
            await run_once(engine, seed, rounds, figures)
            say(f"{engine}, seed {seed}: {figures.summary}")
            self._write()

    def _write(self) -> None:
        result = {
            "machine": describe(Path.cwd()),
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._started),
            "engines": {engine: vars(figures) for engine, figures in self.engines.items()},
        }
        result_path("feed-soak.json").write_text(json.dumps(result, indent=1) + "\n")


async def run_once(engine: str, seed: int, rounds: int, figures: Figures) -> None:
    with server_directory() as folder:
        if engine == "SQLite":
            async with sqlite_site(folder) as site:
                await Run(site, seed, figures).run(rounds)
        else:
            async with postgres_site(folder) as replicas:
                await Run(replicas, seed, figures).run(rounds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
