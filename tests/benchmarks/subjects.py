"""The subjects of a load: running servers, storage in its own process, or the disk."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.benchmarks.cells import CELLS, Cell
from tests.benchmarks.databases import (
    CHANGED,
    FIRST_DELETED,
    FIRST_UPDATED,
    HUNDRED_PENDING,
    ONE_PENDING,
    SUBMITTING_MENTORS,
    TWENTY_PENDING,
    EventTable,
    MentorGroup,
    fault_of,
)
from tests.benchmarks.load.h2load import run_h2load
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.load.wrk import Requests, run_wrk
from tests.benchmarks.measurement import LOAD_GENERATOR, Measurement
from tests.benchmarks.processes import Program, cpu_seconds, python_module


def snapshots(group: MentorGroup) -> Requests:
    return Requests("snapshot", first_mentor=group.first, mentors=group.mentors)


REQUESTS = {
    "submit": Requests("submit", mentors=SUBMITTING_MENTORS),
    "snapshot": snapshots(ONE_PENDING),
    "snapshot of 20": snapshots(TWENTY_PENDING),
    "snapshot of 100": snapshots(HUNDRED_PENDING),
    "list": Requests("list"),
    "list of 1": Requests("list", limit=1),
    "list of 100": Requests("list", limit=100),
    "update": Requests("update", first_event=FIRST_UPDATED, events=CHANGED),
    "delete": Requests("delete", first_event=FIRST_DELETED, events=CHANGED),
}


class Subject(Protocol):
    def measure(self, variant: str, cell: Cell, number: int, seconds: int) -> Measurement:
        """Puts the cell's load on the subject for `seconds`, in round `number`."""


@dataclass(frozen=True)
class Server:
    """Programs that serve REST or gRPC at an address. other_pids: further processes whose CPU time is counted.

    token: what the programs ask for, over TLS; empty if they need none.
    """

    address: str
    programs: Sequence[Program]
    events: EventTable | None = None
    other_pids: Sequence[int] = field(default=())
    token: str = ""

    def measure(self, variant: str, cell: Cell, number: int, seconds: int) -> Measurement:
        before = self.events.count(cell.operation) if self.events else None
        cpu_before = self._cpu_seconds()
        load = self._run(cell, seconds)
        cpu = {name: value - cpu_before.get(name, 0) for name, value in self._cpu_seconds().items()}
        after = self.events.count(cell.operation) if self.events else None
        return _measurement(variant, cell, number, load, cpu, fault_of(load, cell.in_flight, before, after))

    def _run(self, cell: Cell, seconds: int) -> LoadResult:
        if cell.transport != "REST":
            return run_h2load(self.address, cell.operation, cell.in_flight, seconds)
        requests = REQUESTS[cell.operation]._replace(second=CELLS.index(cell))
        return run_wrk(self.address, requests, cell.in_flight, seconds, self.token)

    def _cpu_seconds(self) -> dict[str, float]:
        return cpu_seconds([*(program.pid for program in self.programs), *self.other_pids])


@dataclass(frozen=True)
class StorageWriters:
    """writers.py, run as a process on an empty database."""

    kind: str
    events: EventTable

    def measure(self, variant: str, cell: Cell, number: int, seconds: int) -> Measurement:
        arguments = (self.kind, self.events.url, str(cell.in_flight), str(seconds))
        command = python_module("tests.benchmarks.writers", *arguments)
        report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        load = LoadResult(*report["load"])
        fault = fault_of(load, 0, 0, self.events.count(cell.operation))
        return _measurement(variant, cell, number, load, {"python": report["cpu"]}, fault)


@dataclass(frozen=True)
class Disk:
    """One of the functions of disk.py, on a new file."""

    run: Callable[[Path, int, float], LoadResult]
    path: Path

    def measure(self, variant: str, cell: Cell, number: int, seconds: int) -> Measurement:
        cpu_before = time.process_time()
        load = self.run(self.path, cell.in_flight, seconds)
        cpu = {"python": time.process_time() - cpu_before}
        return _measurement(variant, cell, number, load, cpu, fault_of(load, 0, None, None))


def _measurement(  # noqa: PLR0913, PLR0917 - one for each part of a measurement
    variant: str, cell: Cell, number: int, load: LoadResult, cpu: dict[str, float], fault: str
) -> Measurement:
    """cpu: seconds by process name, without the load generator."""
    seconds = cpu | {LOAD_GENERATOR: load.generator}
    per_request = {name: value / max(load.requests, 1) * 1e6 for name, value in seconds.items() if value}
    return Measurement(variant, cell, number, load.requests / load.seconds, load.p50, load.p99, per_request, fault)
