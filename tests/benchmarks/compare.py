"""Compares the service with its peers and its limits: `make bench`. Writes .benchmarks/compare.json, .md and .png."""

import shutil
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.cells import CELLS, GRPC_SNAPSHOT_16, REST_CELLS, Cell
from tests.benchmarks.conversation import converse, require_snapshot
from tests.benchmarks.databases import Templates
from tests.benchmarks.machine import describe
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.plot import draw
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import full_report
from tests.benchmarks.results import Comparison, Results, result_path, save
from tests.benchmarks.subjects import Server, Subject
from tests.benchmarks.variants import VARIANTS, StartedVariant, Surroundings, started
from tests.postgres_server import PostgresServer

WORK_DIRECTORY = "/var/tmp"  # noqa: S108 - on a disk, which /tmp need not be, and open to PostgreSQL's user
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client"}  # with the Debian packages that they come in
POSTGRES_SETTINGS = {"fsync": "on", "shared_buffers": "256MB", "max_connections": "100"}
SETTINGS = "SQLite WAL synchronous=FULL, PostgreSQL fsync=on synchronous_commit=on: a commit before each answer"


class Plan(NamedTuple):
    rounds: int
    seconds: int  # of each measurement: wrk counts whole ones


QUICK = Plan(rounds=1, seconds=1)  # shows that all works; one round has no quartiles
FULL = Plan(rounds=5, seconds=2)


def main() -> None:
    parser = ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under two minutes")
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
            sys.exit(f"{tool} is missing, which makes the load: apt-get install {package}")


@contextmanager
def work_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mentorsync-benchmark-", dir=WORK_DIRECTORY) as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL does not run as root and has its data below
        yield directory


def compare(plan: Plan, directory: Path, machine: dict[str, str]) -> Comparison:
    progress = Progress(sum(len(variant.cells) for variant in VARIANTS) * plan.rounds)
    progress.say("making the databases")
    templates = Templates(directory)
    measurements: list[Measurement] = []
    ready_seconds: list[float] = []
    with postgres_server(directory) as (postgres, postgres_pid):
        for number in range(plan.rounds):
            round_directory = directory / f"round-{number}"
            round_directory.mkdir()
            surroundings = Surroundings(round_directory, templates, postgres, postgres_pid, ExitStack())
            progress.say(f"round {number + 1} of {plan.rounds}: starting the variants")
            with started(surroundings) as (variants, seconds):
                ready_seconds.append(seconds)
                require_equal_answers(variants)
                measurements += measure_round(variants, number, plan.seconds, progress)
            shutil.rmtree(round_directory)
    return Comparison(plan.rounds, plan.seconds, machine, ready_seconds, measurements)


@contextmanager
def postgres_server(directory: Path) -> Iterator[tuple[PostgresServer, int]]:
    """A durable PostgreSQL and the id of its process, whose children the backends are."""
    home = directory / "postgres"
    home.mkdir()
    server = PostgresServer(home)
    server.create()
    server.stop()
    server.start(**POSTGRES_SETTINGS)
    try:
        yield server, server.pid
    finally:
        server.stop()


def require_equal_answers(variants: Sequence[StartedVariant]) -> None:
    """Holds one conversation with each that serves all of REST, and ends the run where one answers differently."""
    answers = {
        variant.name: converse(subject.address)
        for variant, subject in variants
        if variant.cells == REST_CELLS and isinstance(subject, Server)
    }
    for variant, subject in variants:
        if GRPC_SNAPSHOT_16 in variant.cells and isinstance(subject, Server) and subject.events:
            require_snapshot(subject.address)
    (first_name, expected), *others = answers.items()
    for name, given in others:
        for ours, theirs in zip(expected, given, strict=True):
            if ours != theirs:
                sys.exit(f"{first_name} and {name} do not answer alike:\n{ours}\n{theirs}")


def measure_round(
    variants: Sequence[StartedVariant], number: int, seconds: int, progress: Progress
) -> Iterator[Measurement]:
    """Every load on every variant that takes it."""
    for cell in CELLS:
        taking = [(variant.name, subject) for variant, subject in variants if cell in variant.cells]
        yield from measure_in_turn(cell, taking, number, seconds, progress)


def measure_in_turn(
    cell: Cell, subjects: Sequence[tuple[str, Subject]], number: int, seconds: int, progress: Progress
) -> Iterator[Measurement]:
    """One load on each, with their names, each round in another order: A B C, C A B, B C A."""
    first = -number % len(subjects)
    for name, subject in (*subjects[first:], *subjects[:first]):
        measurement = subject.measure(name, cell, number, seconds)
        progress.step(
            f"round {number + 1}  {cell}  {name}: {measurement.throughput:,.0f}/s, p99 {measurement.p99 / 1000:.1f} ms"
        )
        yield measurement


def exit_on_faults(result: Comparison) -> None:
    """Ends the program where a verification failed, and tells which."""
    faults = [measurement for measurement in result.measurements if measurement.fault]
    for fault in faults:
        print(f"WRONG: {fault.variant}, {fault.cell}, round {fault.round}: {fault.fault}", file=sys.stderr)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
