"""How long each operation of the storage engine takes on a database of some size, one at a time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager
from itertools import count
from types import TracebackType
from typing import Any

from mentorsync.domain.operations import Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.engine import open_engine

from tests.benchmarks.databases import EVENTS_OF_A_MENTOR
from tests.benchmarks.filling import event_id, mentor_id
from tests.benchmarks.statistics import Summary

OPERATIONS = ("page 1", "middle page", "snapshot", "submit", "update")
LIMIT = 20
SECONDS = 0.5  # of each operation in each round
FEWEST = 5  # calls of the slowest operation, a middle page of millions


class GrownStorage(AbstractContextManager["GrownStorage"]):
    """engine: its name. events: their number in the database."""

    def __init__(self, engine: str, events: int, url: str) -> None:
        self.engine = engine
        self.events = events
        self._engine = open_engine(url)
        self._reader = self._engine.open_reader()
        self._store = self._engine.open_store()
        self._numbers = count(1)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._store.close()
        self._engine.close()

    def measure(self, number: int, names: Collection[str] = OPERATIONS) -> dict[str, float]:
        """The median microseconds of the operations of these names. The same round chooses the same rows."""
        return asyncio.run(self._measure(random.Random(number), names))  # noqa: S311 - no secret

    async def _measure(self, choice: random.Random, names: Collection[str]) -> dict[str, float]:
        half = self.events // EVENTS_OF_A_MENTOR // 2  # submits are for mentors whose snapshots are not measured
        middle = self.events // LIMIT // 2

        async def submit() -> None:
            nanoseconds = time.time_ns() + next(self._numbers)
            mentor = mentor_id(half + choice.randrange(half))
            self._write(SubmitOperation(mentor, EventType.PAUSE, "Taking a short break", nanoseconds, None))

        async def update() -> None:
            sync_event_id = event_id(choice.randint(1, self.events))
            self._write(UpdateOperation(sync_event_id, None, f"Corrected: leave {next(self._numbers)}"))

        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "page 1": lambda: self._reader.page(1, LIMIT, None),
            "middle page": lambda: self._reader.page(middle, LIMIT, None),
            "snapshot": lambda: self._reader.snapshot(mentor_id(choice.randrange(half))),
            "submit": submit,
            "update": update,
        }
        return {name: await _median(operation) for name, operation in operations.items() if name in names}

    def _write(self, operation: Operation) -> None:
        (outcome,) = self._store.transact([operation]).outcomes
        if isinstance(outcome, Exception):
            raise outcome


async def _median(operation: Callable[[], Awaitable[Any]]) -> float:
    await operation()  # the first call opens connections
    durations: list[float] = []
    started = now = time.perf_counter()
    while now - started < SECONDS or len(durations) < FEWEST:
        before = now
        await operation()
        now = time.perf_counter()
        durations.append((now - before) * 1e6)
    return Summary.of(durations).median
