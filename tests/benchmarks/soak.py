"""Runs ten minutes of full load, while other clients disconnect in the middle of requests: `make bench-soak`.

Writes .benchmarks/soak.json. The run shows leaks: it records the memory, file descriptors and threads of all processes
of `mentorsync up` over time.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.compare import require_tools, work_directory
from tests.benchmarks.conversation import call_every_endpoint
from tests.benchmarks.databases import Templates
from tests.benchmarks.load.disconnecting import DisconnectingClients
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.load.wrk import Requests, start_wrk, wait_for_result
from tests.benchmarks.machine import describe
from tests.benchmarks.processes import Footprint, Program, python_module
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import soak_table
from tests.benchmarks.results import Soak, SoakSample, result_path, save
from tests.benchmarks.subjects import REQUESTS
from tests.benchmarks.variants import FREE_ADDRESSES, MENTORSYNC, UP_REST

FULL_SECONDS = 600
QUICK_SECONDS = 30
SAMPLE_SECONDS = 10  # of load between two samples
SUBMITTING_MENTORS = 1_000_000  # with so many mentors, each mentor's snapshot stays small
LOAD = (
    (Requests("submit", mentors=SUBMITTING_MENTORS), 32),
    (REQUESTS["snapshot"], 24),
    (Requests("list"), 8),
)
IDLE_SECONDS = 3  # before the last sample, so that connections and buffers can be released


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
    steps = seconds // SAMPLE_SECONDS
    progress = Progress(steps)
    events = Templates(directory).copy("events", directory / "soak.db")
    program = Program(python_module(MENTORSYNC, "up"), FREE_ADDRESSES | {"MENTORSYNC_DATABASE_URL": events.url})
    try:
        address = program.wait_for(UP_REST)
        started = time.monotonic()
        samples = [sample(program, started)]
        loads: list[LoadResult] = []
        with DisconnectingClients(address) as disconnecting:
            for number in range(steps):
                loads += run_loads(address, number)
                samples.append(sample(program, started))
                progress.step(f"{samples[-1].memory / 1e6:.0f} MB, {samples[-1].descriptors} descriptors")
        time.sleep(IDLE_SECONDS)
        samples.append(sample(program, started))
        call_every_endpoint(address)  # it still answers
    finally:
        program.stop()
    answered = sum(load.requests for load in loads)
    refused = sum(load.errors for load in loads)
    return Soak(describe(directory), seconds / 60, answered, refused, disconnecting.closed, samples)


def run_loads(address: str, number: int) -> Iterator[LoadResult]:
    """Runs all loads at once, for SAMPLE_SECONDS."""
    processes = [
        start_wrk(address, requests._replace(second=number % 60), in_flight, SAMPLE_SECONDS)
        for requests, in_flight in LOAD
    ]
    for process in processes:
        yield wait_for_result(process)


def sample(program: Program, started: float) -> SoakSample:
    return SoakSample(time.monotonic() - started, *Footprint.of([program.pid]))


if __name__ == "__main__":
    main()
