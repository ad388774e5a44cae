"""How long each endpoint of `mentorsync up` takes on a database of some size, with one request at a time."""

import time
from contextlib import AbstractContextManager
from itertools import count
from types import TracebackType

from tests.benchmarks.databases import EVENTS_OF_A_MENTOR, fault_of
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.load.wrk import Requests, run_wrk, start_wrk
from tests.benchmarks.processes import Program, python_module
from tests.benchmarks.variants import FREE_ADDRESSES, MENTORSYNC, UP_REST

LIMIT = 20
SECONDS = 1  # of each endpoint in each round
MIDDLE_PAGE_SECONDS = 3  # a middle page of 10,000,000 events on PostgreSQL takes a second
DURING_SECONDS = 3
SUBMITTING_MENTORS = 10_000_000  # mostly new ones, at every size: snapshots must not grow with the rounds
SNAPSHOTS_IN_FLIGHT = 4  # while one client reads the last pages


class GrownService(AbstractContextManager["GrownService"]):
    """engine: its name. events: their number in the database. ready_seconds: from the start until ready."""

    def __init__(self, engine: str, events: int, url: str) -> None:
        self.engine = engine
        self.events = events
        started = time.perf_counter()
        self._program = Program(python_module(MENTORSYNC, "up"), FREE_ADDRESSES | {"MENTORSYNC_DATABASE_URL": url})
        self.address = self._program.wait_for(UP_REST)
        self.ready_seconds = time.perf_counter() - started
        self._seconds = count()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._program.stop()

    @property
    def snapshots(self) -> Requests:
        return Requests("snapshot", mentors=self.events // EVENTS_OF_A_MENTOR)

    @property
    def deepest_page(self) -> int:
        return self.events // LIMIT

    def measure(self, _number: int) -> dict[str, float]:
        """The median microseconds of each endpoint."""
        requests = {
            "page 1": (Requests("list"), SECONDS),
            "middle page": (Requests("list", page=self.deepest_page // 2), MIDDLE_PAGE_SECONDS),
            "snapshot": (self.snapshots, SECONDS),
            "submit": (Requests("submit", second=next(self._seconds), mentors=SUBMITTING_MENTORS), SECONDS),
            "update": (Requests("update", first_event=1, events=self.events), SECONDS),
        }
        return {name: self.load(each, 1, seconds).p50 for name, (each, seconds) in requests.items()}

    def load(self, requests: Requests, in_flight: int, seconds: int) -> LoadResult:
        """Raises RuntimeError if an answer was an error."""
        result = run_wrk(self.address, requests, in_flight, seconds)
        if fault := fault_of(result, in_flight, None, None):
            raise RuntimeError(f"{requests}: {fault}")
        return result


def during_deep_pages(service: GrownService) -> float:
    """The p99 of snapshots while another client reads the last pages, divided by their usual p99."""
    usual = service.load(service.snapshots, SNAPSHOTS_IN_FLIGHT, DURING_SECONDS)
    deep = Requests("list", page=service.deepest_page)
    with start_wrk(service.address, deep, 1, DURING_SECONDS + 1):
        during = service.load(service.snapshots, SNAPSHOTS_IN_FLIGHT, DURING_SECONDS)
    return during.p99 / usual.p99
