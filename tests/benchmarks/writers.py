"""Measures storage without a service: several writers submit events, each one after the other.

Run as a module, in its own process. Arguments: "engine" or "orm", the database URL, number of writers, seconds.
Prints a LoadResult and the used CPU seconds as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import uvloop
from mentorsync import runtime
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType

from tests.benchmarks.filling import mentor_id
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.peers.engine import open_engine_storage
from tests.benchmarks.peers.orm import ThreadedOrm
from tests.benchmarks.peers.storage import Storage, Writes
from tests.benchmarks.statistics import percentile

MENTORS = 10_000  # the same number as in the REST loads


@asynccontextmanager
async def open_orm(url: str) -> AsyncIterator[Storage]:
    orm = ThreadedOrm(url)
    yield Storage(orm, orm)


STORAGES = {"engine": open_engine_storage, "orm": open_orm}


async def run(kind: str, url: str, writers: int, seconds: float) -> LoadResult:
    async with STORAGES[kind](url) as storage:
        durations: list[float] = []
        numbers = count(1)
        started = time.perf_counter()

        async def submit_until_the_end() -> None:
            while (before := time.perf_counter()) - started < seconds:
                await _submit(storage.writes, next(numbers))
                durations.append((time.perf_counter() - before) * 1e6)

        await asyncio.gather(*(submit_until_the_end() for _ in range(writers)))
        elapsed = time.perf_counter() - started
    return LoadResult(
        len(durations), elapsed, percentile(durations, 50), percentile(durations, 99), errors=0, generator=0
    )


async def _submit(writes: Writes, number: int) -> None:
    # All timestamps lie within one second, so no event is stale. They differ by a nanosecond, so no submit is a repeat.
    client_timestamp = 1_774_516_495_000_000_000 + number
    operation = SubmitOperation(
        mentor_id(number % MENTORS), EventType.PAUSE, "Taking a short break", client_timestamp, None
    )
    await writes.write(operation)


def main() -> None:
    kind, url, writers, seconds = sys.argv[1:]
    if kind == "engine":
        runtime.prepare()
    load = uvloop.run(run(kind, url, int(writers), float(seconds)))
    print(json.dumps({"load": load, "cpu": time.process_time()}))


if __name__ == "__main__":
    main()
