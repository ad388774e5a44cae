"""Measures whether calls cost more with more events stored: `make bench-growth`. Writes .benchmarks/growth.json.

To 10,000,000 events on SQLite and on PostgreSQL; all of them pending, ten for each mentor. Then on PostgreSQL while an
old snapshot is open.
"""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.benchmarks.compare import postgres_server, require_tools, work_directory
from tests.benchmarks.databases import EVENTS_OF_A_MENTOR
from tests.benchmarks.filling import fill
from tests.benchmarks.growth_rest import GrownService, during_deep_pages
from tests.benchmarks.growth_snapshot import SnapshotPlan, with_old_snapshot
from tests.benchmarks.growth_storage import GrownStorage
from tests.benchmarks.machine import describe
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import growth_table
from tests.benchmarks.results import Growth, GrowthRow, result_path, save
from tests.postgres_server import PostgresServer

READ_BYTES = 2**20


class Plan(NamedTuple):
    """Sizes are numbers of events. deep: the size at which the last pages are read. snapshot: the work during one."""

    rounds: int
    sqlite: tuple[int, ...]
    postgres: tuple[int, ...]
    deep: int
    snapshot: SnapshotPlan


QUICK = Plan(
    rounds=1, sqlite=(1_000, 100_000), postgres=(1_000,), deep=100_000, snapshot=SnapshotPlan(2_000, 1_000, rounds=1)
)
FULL_SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
FULL = Plan(
    rounds=5, sqlite=FULL_SIZES, postgres=FULL_SIZES, deep=1_000_000, snapshot=SnapshotPlan(200_000, 100_000, rounds=5)
)
Durations = dict[tuple[str, str, str, int], list[float]]  # by engine, level, operation and events


def main() -> None:
    parser = ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 events only")
    plan = QUICK if parser.parse_args().quick else FULL
    require_tools()
    with work_directory() as directory, ExitStack() as stack:
        growth = measure(plan, directory, stack)
    save(growth, result_path("growth.json"))
    print(growth_table(growth))


def measure(plan: Plan, directory: Path, stack: ExitStack) -> Growth:
    progress = Progress(plan.rounds * 2 * (len(plan.sqlite) + len(plan.postgres)))
    postgres, _pid = stack.enter_context(postgres_server(directory))
    urls = dict(filled(plan, directory, postgres, progress))
    durations: Durations = defaultdict(list)
    warm_up(directory, progress)
    with ExitStack() as opened:
        storages = [opened.enter_context(GrownStorage(*size, url)) for size, url in urls.items()]
        take_turns(storages, "storage", plan.rounds, durations, progress)
    warm_up(directory, progress)
    with ExitStack() as opened:
        services = [opened.enter_context(GrownService(*size, url)) for size, url in urls.items()]
        take_turns(services, "REST", plan.rounds, durations, progress)
        progress.say("snapshots while another client reads the last pages")
        (deep,) = (service for service in services if (service.engine, service.events) == ("SQLite", plan.deep))
        during = [during_deep_pages(deep) for _ in range(plan.rounds)]
        ready = {f"{service.engine} {service.events:,}": service.ready_seconds for service in services}
    snapshot_ratios = with_old_snapshot(postgres, plan.snapshot, progress)
    rows = [GrowthRow(*key, values) for key, values in sorted(durations.items(), key=lambda item: item[0])]
    return Growth(describe(directory), rows, during, ready, snapshot_ratios)


def warm_up(directory: Path, progress: Progress) -> None:
    """Reads every database once, so that all of them are in the system's file cache to the same extent."""
    progress.say("reading the databases into memory")
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(READ_BYTES):
                    pass


class Grown(Protocol):
    """A database of some size that can be measured, in microseconds for each operation."""

    engine: str
    events: int

    def measure(self, number: int) -> dict[str, float]: ...


def take_turns(subjects: Sequence[Grown], level: str, rounds: int, durations: Durations, progress: Progress) -> None:
    """Measures all sizes in each round, each round in another order."""
    for number in range(rounds):
        first = -number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            for operation, duration in subject.measure(number).items():
                durations[subject.engine, level, operation, subject.events].append(duration)
            progress.step(f"round {number + 1}  {subject.engine}, {subject.events:,} events, {level}")


def filled(
    plan: Plan, directory: Path, postgres: PostgresServer, progress: Progress
) -> Iterator[tuple[tuple[str, int], str]]:
    """Makes the databases. Yields (engine, number of events) and the URL."""
    for events in plan.sqlite:
        yield ("SQLite", events), _filled(f"sqlite:///{directory / str(events)}.db", events, progress)
    for events in plan.postgres:
        postgres.execute(f"CREATE DATABASE events_{events}")
        yield ("PostgreSQL", events), _filled(postgres.url(f"events_{events}"), events, progress)


def _filled(url: str, events: int, progress: Progress) -> str:
    progress.say(f"making {events:,} events in {url.rpartition('/')[2]}")
    fill(url, events, events, events // EVENTS_OF_A_MENTOR)
    return url


if __name__ == "__main__":
    main()
