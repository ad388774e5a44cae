"""Compares the service with alternatives and with its upper limits: `make bench`.

Writes .benchmarks/compare.json, compare.md and compare.png.
"""

import shutil
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.cells import CELLS, GRPC_SNAPSHOT_16, REST_LIST_16, Cell
from tests.benchmarks.conversation import call_every_endpoint, require_snapshot
from tests.benchmarks.databases import Templates
from tests.benchmarks.machine import describe
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.plot import draw
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import full_report
from tests.benchmarks.results import Comparison, Results, result_path, save
from tests.benchmarks.subjects import Server, Subject
from tests.benchmarks.variants import VARIANTS, RoundResources, StartedVariant, running_variants
from tests.postgres_server import PostgresServer, given_to_server

WORK_DIRECTORY = "/var/tmp"  # noqa: S108 - /tmp may be in memory; this is on a disk, and PostgreSQL's user can enter it
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client"}  # by Debian package
POSTGRES_SETTINGS = {"fsync": "on", "shared_buffers": "256MB", "max_connections": "100"}
SETTINGS = "SQLite WAL synchronous=FULL, PostgreSQL fsync=on synchronous_commit=on: a commit before each answer"


class Plan(NamedTuple):
    rounds: int
    seconds: int  # of each measurement of writes; wrk takes whole seconds only


READ_SECONDS = 1  # of each measurement of reads in the comparison: they vary less, because no disk is involved
QUICK = Plan(rounds=1, seconds=1)  # a smoke test: one round gives no quartiles
FULL = Plan(rounds=5, seconds=2)


def main() -> None:
    parser = ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, about 100 s")
    quick = parser.parse_args().quick
    require_tools()
    with work_directory() as directory:
        machine = describe(directory) | {"settings": SETTINGS}
        result = compare(QUICK if quick else FULL, directory, machine)
    save(result, result_path("compare.json"))
    report = full_report(Results(result))
    result_path("compare.md").write_text(report)
    draw(result, result_path("compare.png"))
    print(report)
    exit_on_faults(result)


def require_tools() -> None:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing, and it generates the load: apt-get install {package}")


@contextmanager
def work_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mentorsync-benchmark-", dir=WORK_DIRECTORY) as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL does not run as root, and its data directory is in here
        yield directory


def compare(plan: Plan, directory: Path, machine: dict[str, str]) -> Comparison:
    progress = Progress(sum(len(variant.cells) for variant in VARIANTS) * plan.rounds)
    progress.say("creating the databases")
    templates = Templates(directory)
    measurements: list[Measurement] = []
    ready_seconds: list[float] = []
    with postgres_server(directory) as (postgres, postgres_pid):
        for number in range(plan.rounds):
            round_directory = directory / f"round-{number}"
            round_directory.mkdir()
            resources = RoundResources(round_directory, templates, postgres, postgres_pid, ExitStack())
            progress.say(f"round {number + 1} of {plan.rounds}: starting the variants")
            with running_variants(resources) as (variants, seconds):
                ready_seconds.append(seconds)
                require_equal_answers(variants)
                measurements += measure_round(variants, number, plan.seconds, progress)
            shutil.rmtree(round_directory)
    return Comparison(plan.rounds, plan.seconds, machine, ready_seconds, measurements)


@contextmanager
def postgres_server(directory: Path) -> Iterator[tuple[PostgresServer, int]]:
    """A durable PostgreSQL server, and the id of its main process. Its backends are children of that process."""
    home = directory / "postgres"
    home.mkdir()
    server = PostgresServer(given_to_server(home)).create()
    server.stop()
    server.start(**POSTGRES_SETTINGS)
    try:
        yield server, server.pid
    finally:
        server.stop()


def require_equal_answers(variants: Sequence[StartedVariant]) -> None:
    """Makes the same calls to every REST variant. Ends the program if two variants answer differently."""
    answers = {
        variant.name: call_every_endpoint(subject.address)
        for variant, subject in variants
        if REST_LIST_16 in variant.cells and isinstance(subject, Server)
    }
    for variant, subject in variants:
        if GRPC_SNAPSHOT_16 in variant.cells and isinstance(subject, Server) and subject.events:
            require_snapshot(subject.address)
    (first_name, expected), *others = answers.items()
    for name, actual in others:
        for expected_answer, actual_answer in zip(expected, actual, strict=True):
            if expected_answer != actual_answer:
                sys.exit(f"{first_name} and {name} answer differently:\n{expected_answer}\n{actual_answer}")


def measure_round(
    variants: Sequence[StartedVariant], number: int, seconds: int, progress: Progress
) -> Iterator[Measurement]:
    """Puts every load on every variant that supports it: loads of writes for `seconds`."""
    for cell in CELLS:
        supporting = [(variant.name, subject) for variant, subject in variants if cell in variant.cells]
        yield from measure_in_turn(cell, supporting, number, READ_SECONDS if cell.is_read else seconds, progress)


def measure_in_turn(
    cell: Cell, subjects: Sequence[tuple[str, Subject]], number: int, seconds: int, progress: Progress
) -> Iterator[Measurement]:
    """Puts one load on each named subject. The order rotates with each round: A B C, C A B, B C A."""
    first = -number % len(subjects)
    for name, subject in (*subjects[first:], *subjects[:first]):
        measurement = subject.measure(name, cell, number, seconds)
        progress.step(
            f"round {number + 1}  {cell}  {name}: {measurement.throughput:,.0f}/s, p99 {measurement.p99 / 1000:.1f} ms"
        )
        yield measurement


def exit_on_faults(result: Comparison) -> None:
    """Prints every failed verification, and ends the program with status 1 if there is one."""
    faults = [measurement for measurement in result.measurements if measurement.fault]
    for fault in faults:
        print(f"WRONG: {fault.variant}, {fault.cell}, round {fault.round}: {fault.fault}", file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
