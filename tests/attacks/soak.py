"""Runs every attack in full against `mentorsync up`, in both layouts: `make soak-attacks`.

Writes .benchmarks/attacks.json, prints a table with a verdict for each attack, and exits with 1 if one is not met.
"""

import json
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.attacks.attacker import ATTACKS, SLOW
from tests.attacks.under_attack import Client, attacked, megabytes
from tests.benchmarks.machine import describe
from tests.benchmarks.results import result_path
from tests.server_process import Database
from tests.up_process import UpProcess

FULL_SECONDS, QUICK_SECONDS = 20, 3  # of each attack
LAYOUTS: dict[str, tuple[str, ...]] = {"embedded": (), "separate": ("--separate",)}
CONNECTIONS = {"idle": 10_000, "slow-headers": 2_000, "slow-body": 2_000, "window-0": 200}
FLOODING_CONNECTIONS = 20  # of each other attack: they send as fast as they can
WARM_UP_CALLS = 30
# What is wanted. The attacker shares the machine's cores with the service, so floods of one machine get more time.
MOST_SLOWER = 3.0  # the p99 under an attack of slow connections, divided by the usual one
MOST_P99_SECONDS = 1.0  # under any other attack
MOST_MEGABYTES = 400


class Outcome(NamedTuple):
    """What the well-behaved client saw of one attack, from its first connection on. Times in seconds, memory in MB.

    `usual` is the p99 before the attack.
    """

    layout: str
    attack: str
    connections: int
    calls: int
    failures: int
    usual: float
    p99: float
    longest: float
    memory: float
    log_megabytes: float

    @property
    def is_met(self) -> bool:
        is_slow = self.attack in {name for name, attack in ATTACKS.items() if attack in SLOW} - {"window-0"}
        most = max(MOST_SLOWER * self.usual, 0.1) if is_slow else MOST_P99_SECONDS
        return not self.failures and self.p99 <= most and self.memory <= MOST_MEGABYTES


def main() -> None:
    parser = ArgumentParser(prog="make soak-attacks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS} s for each attack")
    seconds = QUICK_SECONDS if parser.parse_args().quick else FULL_SECONDS
    sys.stdout.write(f"{HEADING}\n")
    outcomes = []
    for layout in LAYOUTS:
        for outcome in attack_layout(layout, seconds):
            outcomes.append(outcome)
            sys.stdout.write(f"{row(outcome)}\n")
            sys.stdout.flush()
    result = {"machine": describe(Path.cwd()), "seconds": seconds, "attacks": [one._asdict() for one in outcomes]}
    result_path("attacks.json").write_text(json.dumps(result, indent=1) + "\n")
    missed = [one for one in outcomes if not one.is_met]
    sys.stdout.write(f"{len(outcomes) - len(missed)} of {len(outcomes)} attacks withstood as wanted\n")
    sys.exit(bool(missed))


def attack_layout(layout: str, seconds: float) -> Iterator[Outcome]:
    for attack in ATTACKS:
        with running(layout) as up:
            yield withstand(up, layout, attack, seconds)


@contextmanager
def running(layout: str) -> Iterator[UpProcess]:
    """A new process for each attack, on a database with two full pages."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory, "mentorsync.db"))
        database.migrate()
        up = UpProcess(database, Path(directory, "up.log"), LAYOUTS[layout])
        try:
            yield up
        finally:
            up.stop()


def withstand(up: UpProcess, layout: str, attack: str, seconds: float) -> Outcome:
    usual, under_attack = Client(up.url), Client(up.url)
    connections = CONNECTIONS.get(attack, FLOODING_CONNECTIONS)
    try:
        usual.fill()
        under_attack.call(WARM_UP_CALLS)
        for client in (usual, under_attack):
            client.seconds.clear()
        usual.call_for(seconds)
        log_bytes = up.log.stat().st_size
        with ThreadPoolExecutor(1) as pool:
            calls = pool.submit(under_attack.call_for, seconds)  # while the attack opens its connections, too
            with attacked(up.url, attack, connections):
                calls.result()
                memory = megabytes([up.pid])
    finally:
        usual.close()
        under_attack.close()
    return Outcome(
        layout,
        attack,
        connections,
        len(under_attack.seconds),
        len(under_attack.failures),
        p99(usual.seconds),
        p99(under_attack.seconds),
        max(under_attack.seconds),
        memory,
        (up.log.stat().st_size - log_bytes) / 1_000_000,
    )


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


HEADING = """\
| Layout | Attack | Connections | Calls | Failed | p99 before | p99 | Longest | Memory | Log | Verdict |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def row(outcome: Outcome) -> str:
    times = " | ".join(f"{seconds * 1_000:,.0f} ms" for seconds in (outcome.usual, outcome.p99, outcome.longest))
    sizes = f"{outcome.memory:.0f} MB | {outcome.log_megabytes:.1f} MB"
    verdict = "met" if outcome.is_met else "missed"
    counts = f"{outcome.connections:,} | {outcome.calls:,} | {outcome.failures}"
    return f"| {outcome.layout} | {outcome.attack} | {counts} | {times} | {sizes} | {verdict} |"


if __name__ == "__main__":
    main()
