"""Measures throughput by the number of replicas, which all write to one log: `make bench-replicas`.

Writes .benchmarks/replicas.json. Each group of replicas has its own database on one PostgreSQL. A group is of whole
processes, or of servers behind a gateway (--separate).
"""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.cells import REST_SNAPSHOT_64, REST_SUBMIT_16, REST_SUBMIT_64
from tests.benchmarks.compare import (
    FULL,
    QUICK,
    Plan,
    exit_on_faults,
    measure_in_turn,
    postgres_server,
    require_tools,
    work_directory,
)
from tests.benchmarks.databases import MENTORS, PENDING, EventTable
from tests.benchmarks.filling import fill
from tests.benchmarks.load.wrk import run_wrk
from tests.benchmarks.machine import describe
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.processes import Program, python_module
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import replicas_table
from tests.benchmarks.results import Comparison, result_path, save
from tests.benchmarks.subjects import REQUESTS, Server
from tests.benchmarks.variants import FREE_ADDRESSES, MENTORSYNC, UP_REST
from tests.postgres_server import PostgresServer

SEPARATE = (1, 2, 3, 4)
WHOLE = (1, 2)
GROUPS = (*((count, "separate") for count in SEPARATE), *((count, "whole") for count in WHOLE))
CELLS = (REST_SNAPSHOT_64, REST_SUBMIT_16, REST_SUBMIT_64)  # submits run last, because they make snapshots larger
FILLED = "filled"  # the database that is copied for each group of replicas
WARM_UP_SECONDS = 1  # in this time each server opens the connections that it reads with

NamedServer = tuple[str, Server]


def main() -> None:
    parser = ArgumentParser(prog="make bench-replicas", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute")
    plan = QUICK if parser.parse_args().quick else FULL
    require_tools()
    with work_directory() as directory:
        result = measure(plan, directory)
    save(result, result_path("replicas.json"))
    print(replicas_table(result))
    exit_on_faults(result)


def measure(plan: Plan, directory: Path) -> Comparison:
    progress = Progress(plan.rounds * len(CELLS) * len(GROUPS))
    machine = describe(directory)
    measurements: list[Measurement] = []
    with postgres_server(directory) as (postgres, postgres_pid):
        postgres.execute(f"CREATE DATABASE {FILLED}")
        fill(postgres.url(FILLED), MENTORS, PENDING, MENTORS)
        for number in range(plan.rounds):
            progress.say(f"round {number + 1} of {plan.rounds}: starting {sum(SEPARATE) + sum(WHOLE)} servers")
            with ExitStack() as stack:
                servers = start_all(postgres, postgres_pid, stack)
                for _name, server in servers:
                    run_wrk(server.address, REQUESTS["snapshot"], REST_SNAPSHOT_64.in_flight, WARM_UP_SECONDS)
                measurements += measure_round(servers, number, plan.seconds, progress)
    return Comparison(plan.rounds, plan.seconds, machine, [], measurements)


def start_all(postgres: PostgresServer, postgres_pid: int, stack: ExitStack) -> list[NamedServer]:
    """Starts all groups of replicas at once. The stack stops them."""
    starting = []
    for replicas, layout in GROUPS:
        events = EventTable(new_database(postgres, f"{layout}_{replicas}"), "events")
        environment = FREE_ADDRESSES | {"MENTORSYNC_DATABASE_URL": events.url}
        program = Program(python_module(MENTORSYNC, "up", *flags(replicas, layout)), environment)
        stack.callback(program.stop)
        starting.append((name_of(replicas, layout), program, events))
    return [
        (name, Server(program.wait_for(UP_REST), [program], events, [postgres_pid]))
        for name, program, events in starting
    ]


def new_database(postgres: PostgresServer, name: str) -> str:
    postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {FILLED}")
    return postgres.url(name)


def flags(replicas: int, layout: str) -> tuple[str, ...]:
    return (*(("--separate",) if layout == "separate" else ()), "--replicas", str(replicas))


def name_of(replicas: int, layout: str) -> str:
    count = "1 replica" if replicas == 1 else f"{replicas} replicas"
    return count if layout == "separate" else f"{count}, whole"


def measure_round(
    servers: Sequence[NamedServer], number: int, seconds: int, progress: Progress
) -> Iterator[Measurement]:
    for cell in CELLS:
        yield from measure_in_turn(cell, servers, number, seconds, progress)


if __name__ == "__main__":
    main()
