"""Puts the live feed under random faults and validates what every receiver saw: `make soak-feed`.

Writes .benchmarks/feed-soak.json, prints the figures, and exits with 1 if a history is wrong.
"""

import asyncio
import json
import random
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.benchmarks.results import result_path
from tests.feed.figures import Figures
from tests.feed.postgres_sites import PostgresSite, postgres_site
from tests.feed.rounds import Run
from tests.feed.sqlite_sites import SqliteSite, separate_site, sqlite_site
from tests.postgres_server import server_directory

SITES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[SqliteSite | PostgresSite]]] = {
    "SQLite": sqlite_site,
    "SQLite, separate": separate_site,
    "PostgreSQL": postgres_site,
    "PostgreSQL, separate": lambda folder: postgres_site(folder, "--separate"),
}
RUNS, ROUNDS = 10, 25  # on each site: each run has a new database, one restored backup, and one failover
QUICK_RUNS, QUICK_ROUNDS = 1, 10
SHOWN_VIOLATIONS = 20


def main() -> None:
    parser = ArgumentParser(prog="make soak-feed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} run of {QUICK_ROUNDS} rounds on each site")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    arguments = parser.parse_args()
    runs, rounds = (QUICK_RUNS, QUICK_ROUNDS) if arguments.quick else (RUNS, ROUNDS)
    soak = Soak(arguments.seed)
    asyncio.run(soak.run(runs, rounds))
    violations = [f"{site}, {line}" for site, figures in soak.sites.items() for line in figures.violations]
    for line in violations[:SHOWN_VIOLATIONS]:
        say(line)
    say(f"{sum(sum(one.rounds.values()) for one in soak.sites.values())} rounds, {len(violations)} violations")
    sys.exit(bool(violations))


class Soak:
    """All sites at the same time, which wait for most of the time. The result is written after each run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._started = time.monotonic()
        self.sites = {site: Figures() for site in SITES}

    async def run(self, runs: int, rounds: int) -> None:
        async with asyncio.TaskGroup() as group:
            for site in SITES:
                group.create_task(self._run_site(site, runs, rounds))

    async def _run_site(self, site: str, runs: int, rounds: int) -> None:
        figures = self.sites[site]
        for seed in range(self._seed, self._seed + runs):
            with server_directory() as folder:
                async with SITES[site](folder) as running:
                    await Run(running, seed, figures).run(rounds)
            say(f"{site}, seed {seed}: {figures.summary}")
            self._write()

    def _write(self) -> None:
        result = {
            "machine": describe(Path.cwd()),
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._started),
            "sites": {site: vars(figures) for site, figures in self.sites.items()},
        }
        result_path("feed-soak.json").write_text(json.dumps(result, indent=1) + "\n")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
