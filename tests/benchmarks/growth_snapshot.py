"""What calls cost on PostgreSQL while an old snapshot is open, such as a backup's, compared with none open."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psycopg
from mentorsync.domain.operations import SubmitOperation, UpdateOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.engine import open_engine

from tests.benchmarks.databases import EVENTS_OF_A_MENTOR
from tests.benchmarks.filling import event_id, fill, mentor_id
from tests.benchmarks.growth_storage import GrownStorage
from tests.benchmarks.progress import Progress
from tests.postgres_server import PostgresServer

OPERATIONS = ("page 1", "snapshot", "submit")
ACKNOWLEDGED_TOGETHER = 100  # events in one batch
REPORT_EVERY = 10_000  # commits
# Both databases commit without waiting for the disk: the wait would hide what a submit costs more.
FAST = "?options=-c%20synchronous_commit%3Doff"


class SnapshotPlan(NamedTuple):
    """The work during the snapshot. commits: batches of one submit. acknowledged: the number of oldest events, then."""

    commits: int
    acknowledged: int
    rounds: int


SnapshotRatios = dict[str, list[float]]  # by operation and work; one ratio for each round


def with_old_snapshot(postgres: PostgresServer, plan: SnapshotPlan, progress: Progress) -> SnapshotRatios:
    """The time of each operation with the snapshot, divided by that without. Each round measures both."""
    ratios: SnapshotRatios = defaultdict(list)
    events = 2 * plan.acknowledged
    for name in ("alone", "observed"):
        postgres.execute(f"CREATE DATABASE {name}")
        fill(postgres.url(name), events, events, events // EVENTS_OF_A_MENTOR)
    urls = [postgres.url(name) + FAST for name in ("alone", "observed")]
    with old_snapshot(postgres.url("observed")), ExitStack() as stack:
        alone, observed = (stack.enter_context(GrownStorage("PostgreSQL", events, url)) for url in urls)
        for url in urls:
            submit(url, plan.commits, events // EVENTS_OF_A_MENTOR, progress)
        measure(alone, observed, f"after {plan.commits:,} commits", plan.rounds, ratios)
        for url in urls:
            acknowledge(url, plan.acknowledged, progress)
        work = f"after {plan.acknowledged:,} of the oldest events were acknowledged, too"
        measure(alone, observed, work, plan.rounds, ratios)
    return ratios


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM events")
        yield


def measure(alone: GrownStorage, observed: GrownStorage, work: str, rounds: int, ratios: SnapshotRatios) -> None:
    for number in range(rounds):
        first, second = (alone, observed) if number % 2 else (observed, alone)
        durations = {first: first.measure(number, OPERATIONS), second: second.measure(number, OPERATIONS)}
        for operation in OPERATIONS:
            ratios[f"{operation}, {work}"].append(durations[observed][operation] / durations[alone][operation])


def submit(url: str, commits: int, mentors: int, progress: Progress) -> None:
    """Commits batches of one event each."""
    engine = open_engine(url)
    store = engine.open_store()
    start = time.time_ns()
    for number in range(commits):
        mentor = mentor_id(number % mentors)
        operation = SubmitOperation(mentor, EventType.PAUSE, "Taking a short break", start + number, None)
        store.on_commit(store.transact([operation]))
        if number % REPORT_EVERY == 0:
            progress.say(f"{number:,} of {commits:,} commits")
    store.close()
    engine.close()


def acknowledge(url: str, events: int, progress: Progress) -> None:
    """Acknowledges the oldest events."""
    progress.say(f"acknowledging {events:,} events")
    engine = open_engine(url)
    store = engine.open_store()
    for first in range(1, events + 1, ACKNOWLEDGED_TOGETHER):
        numbers = range(first, first + ACKNOWLEDGED_TOGETHER)
        operations = [UpdateOperation(event_id(number), acknowledged=True, reason=None) for number in numbers]
        store.on_commit(store.transact(operations))
    store.close()
    engine.close()
