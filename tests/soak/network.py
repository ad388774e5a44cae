"""A network with faults between two servers and their PostgreSQL, under load, in rounds: `make soak-network`.

Each round has a seed of its own, the first one that of the run.
"""

import asyncio
from collections import Counter

from tests.benchmarks.progress import Progress
from tests.faults.damage import check_database, find_damage
from tests.faults.faulty_proxy import Fault
from tests.faults.load import CALL_SECONDS, Load
from tests.faults.network_faults import endure_network_faults
from tests.grpc_client import open_channel
from tests.postgres_server import migrated_server
from tests.soak.soaking import Outcome, soak

ROUNDS, QUICK_ROUNDS = 60, 2
LOSSES = 1  # ends a round, after about 10 delays and 5 cuts


def run(is_quick: bool, seed: int) -> Outcome:
    faults: Counter[Fault] = Counter()
    loads: list[Load] = []
    rounds = QUICK_ROUNDS if is_quick else ROUNDS
    progress = Progress(rounds)
    with migrated_server() as postgres:
        url = postgres.url("mentorsync")
        for number in range(seed, seed + rounds):
            outcome = asyncio.run(endure_network_faults(url, open_channel, LOSSES, number))
            faults += outcome.faults
            loads.append(outcome.load)
            progress.step(f"{outcome.faults.total()} faults")
        damage = find_damage(url, *loads)
        if damage == (0, 0):
            check_database(url, *loads)
    slowest = max(load.slowest for load in loads)
    row = {
        "rounds": rounds,
        "delays": faults[Fault.DELAY],
        "cuts": faults[Fault.CUT],
        "losses": faults[Fault.LOSS],
        "answered": sum(len(load.answered) for load in loads),
        "refused": sum(len(load.unavailable) for load in loads),
        "lost": damage.lost,
        "doubled": damage.doubled,
        "slowest call": round(slowest, 1),
    }
    return Outcome([row], damage == (0, 0) and slowest < CALL_SECONDS)


if __name__ == "__main__":
    soak("network", run, __doc__)
