"""What every part of `make soak` does: reads its flags, prints its seed, and writes its figures as JSON."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple

from tests.benchmarks.machine import describe
from tests.benchmarks.markdown import table
from tests.benchmarks.results import result_path

SEEDS = 1_000_000

Row = Mapping[str, Any]


class Outcome(NamedTuple):
    """The figures of a part, a row for each case, and whether all of them are as wanted."""

    rows: Sequence[Row]
    is_met: bool


def soak(name: str, run: Callable[[bool, int], Outcome], purpose: str | None) -> None:
    """Runs a part with the flags --quick and --seed, and exits with 1 if its outcome is not as wanted."""
    parser = ArgumentParser(prog=f"make soak-{name}", description=purpose)
    parser.add_argument("--quick", action="store_true", help="a short run")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(SEEDS), help="repeats the draws of a run")
    flags = parser.parse_args()
    sys.stdout.write(f"soak-{name}: seed {flags.seed}\n")
    sys.stdout.flush()
    started = time.monotonic()
    outcome = run(flags.quick, flags.seed)
    result = {
        "machine": describe(Path.cwd()),
        "quick": flags.quick,
        "seed": flags.seed,
        "seconds": round(time.monotonic() - started),
        "rows": outcome.rows,
    }
    result_path(f"soak-{name}.json").write_text(dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{table(list(outcome.rows[0]), [list(map(str, row.values())) for row in outcome.rows])}\n")
    sys.stdout.write(f"{result['seconds']} s: {'met' if outcome.is_met else 'missed'}\n")
    sys.exit(not outcome.is_met)
