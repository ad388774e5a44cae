"""Puts the live feed under random faults and validates what every receiver saw: `make soak-feed`.

Writes .benchmarks/feed-soak.json, prints the figures, and exits with 1 if a history is wrong.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.benchmarks.results import result_path
from tests.feed.rounds import Figures, Run
from tests.feed.sites import postgres_site, sqlite_site
from tests.postgres_server import server_directory

RUNS, ROUNDS = 5, 100  # on each engine: each run has a new database, one restored backup, and one failover
QUICK_RUNS, QUICK_ROUNDS = 1, 20
SHOWN_VIOLATIONS = 20


def main() -> None:
    parser = ArgumentParser(prog="make soak-feed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} run of {QUICK_ROUNDS} rounds on each engine")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    arguments = parser.parse_args()
    runs, rounds = (QUICK_RUNS, QUICK_ROUNDS) if arguments.quick else (RUNS, ROUNDS)
    started = time.monotonic()
    engines = asyncio.run(soak(runs, rounds, arguments.seed))
    result = {
        "machine": describe(Path.cwd()),
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - started),
        "engines": {engine: asdict(figures) for engine, figures in engines.items()},
    }
    result_path("feed-soak.json").write_text(json.dumps(result, indent=1) + "\n")
    violations = [line for figures in engines.values() for line in figures.violations]
    for line in violations[:SHOWN_VIOLATIONS]:
        say(line)
    say(f"{sum(sum(figures.rounds.values()) for figures in engines.values())} rounds, {len(violations)} violations")
    sys.exit(bool(violations))


async def soak(runs: int, rounds: int, seed: int) -> dict[str, Figures]:
    engines = {"SQLite": Figures(), "PostgreSQL": Figures()}
    for run_seed in range(seed, seed + runs):
        for engine, figures in engines.items():
            await run_once(engine, run_seed, rounds, figures)
            say(f"{engine}, seed {run_seed}: {figures.summary}")
    return engines


async def run_once(engine: str, seed: int, rounds: int, figures: Figures) -> None:
    if engine == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            async with sqlite_site(Path(folder)) as site:
                await Run(site, seed, figures).run(rounds)
    else:
        with server_directory() as directory:
            async with postgres_site(directory) as replicas:
                await Run(replicas, seed, figures).run(rounds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
