"""Ten minutes of full load with clients that leave in the middle: `make bench-soak`. Writes .benchmarks/soak.json.

Meant to show leaks: memory, file descriptors and threads of all processes of `mentorsync up`, over time.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.compare import require_tools, work_directory
from tests.benchmarks.conversation import converse
from tests.benchmarks.databases import MENTORS, Templates
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.load.rough import RoughClients
from tests.benchmarks.load.wrk import Requests, report_of, start_wrk
from tests.benchmarks.machine import describe
from tests.benchmarks.processes import Footprint, Program, python_module
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import soak_table
from tests.benchmarks.results import Soak, SoakSample, result_path, save
from tests.benchmarks.variants import FREE_ADDRESSES, MENTORSYNC, UP_REST

FULL_SECONDS = 600
QUICK_SECONDS = 30
STRETCH_SECONDS = 10  # of load between two looks at the processes
SUBMITTING_MENTORS = 1_000_000  # so many that snapshots stay small
LOAD = (
    (Requests("submit", mentors=SUBMITTING_MENTORS), 32),
    (Requests("snapshot", mentors=MENTORS), 24),
    (Requests("list"), 8),
)
IDLE_SECONDS = 3  # after which nothing should hang on


def main() -> None:
    parser = ArgumentParser(prog="make bench-soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS} s only")
    seconds = QUICK_SECONDS if parser.parse_args().quick else FULL_SECONDS
    require_tools()
    with work_directory() as directory:
        result = soak(seconds, directory)
    save(result, result_path("soak.json"))
    print(soak_table(result))


def soak(seconds: int, directory: Path) -> Soak:
    stretches = seconds // STRETCH_SECONDS
    progress = Progress(stretches)
    events = Templates(directory).copy("events", directory / "soak.db")
    program = Program(python_module(MENTORSYNC, "up"), FREE_ADDRESSES | {"MENTORSYNC_DATABASE_URL": events.url})
    try:
        address = program.wait_for(UP_REST)
        started = time.monotonic()
        samples = [sample(program, started)]
        loads: list[LoadResult] = []
        with RoughClients(address) as rough:
            for number in range(stretches):
                loads += stretch(address, number)
                samples.append(sample(program, started))
                progress.step(f"{samples[-1].memory / 1e6:.0f} MB, {samples[-1].descriptors} descriptors")
        time.sleep(IDLE_SECONDS)
        samples.append(sample(program, started))
        converse(address)  # it still answers, and rightly
    finally:
        program.stop()
    answered = sum(load.requests for load in loads)
    refused = sum(load.errors for load in loads)
    return Soak(describe(directory), seconds / 60, answered, refused, rough.broken, samples)


def stretch(address: str, number: int) -> Iterator[LoadResult]:
    """All loads at once."""
    processes = [
        start_wrk(address, requests._replace(second=number % 60), in_flight, STRETCH_SECONDS)
        for requests, in_flight in LOAD
    ]
    for process in processes:
        yield report_of(process)


def sample(program: Program, started: float) -> SoakSample:
    return SoakSample(time.monotonic() - started, *Footprint.of([program.pid]))


if __name__ == "__main__":
    main()
