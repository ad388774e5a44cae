"""The service under the loads of the feed, and what the loads measure."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.request import urlopen

import psycopg

from tests.benchmarks.load.streams import Figures, Streams
from tests.benchmarks.processes import Footprint, Program, cpu_seconds, python_module
from tests.benchmarks.statistics import percentile
from tests.benchmarks.variants import FREE_ADDRESSES, MENTORSYNC, PEERS, UP_GRPC, UP_REST, UVICORN
from tests.contract import BASE
from tests.postgres_server import free_port

MANY_STREAMS = {"MENTORSYNC_STREAMS_PER_ADDRESS": "10000"}  # all streams come from one address
WATCH = f"{BASE}/watch"
UP_METRICS = r"metrics +(http://\S+)\n"
SETTLE_SECONDS = 5  # at most, until all that was written has been received
CHANGED_AT = "SELECT sync_event_id, updated_at FROM events"


class Service(NamedTuple):
    """`mentorsync up`, or a peer, which has only REST. metrics: a URL."""

    program: Program
    database_url: str
    rest: str
    grpc: str = ""
    metrics: str = ""

    @property
    def memory(self) -> int:
        return Footprint.of([self.program.pid]).memory

    @property
    def cpu(self) -> float:
        """Seconds so far."""
        return sum(cpu_seconds([self.program.pid]).values())

    @property
    def stalled_streams(self) -> int:
        text: str = urlopen(self.metrics).read().decode()  # noqa: S310 - a URL of ours
        match = re.search(r"^mentorsync_feed_streams_stalled (\S+)", text, re.MULTILINE)
        return int(float(match[1])) if match else 0


@contextmanager
def up(database_url: str, port: int = 0) -> Iterator[Service]:
    addresses = {"MENTORSYNC_REST_ADDRESS": f"127.0.0.1:{port}", "MENTORSYNC_DATABASE_URL": database_url}
    program = Program(python_module(MENTORSYNC, "up"), FREE_ADDRESSES | MANY_STREAMS | addresses)
    try:
        rest, grpc, metrics = map(program.wait_for, (UP_REST, UP_GRPC, UP_METRICS))
        yield Service(program, database_url, rest, grpc, metrics)
    finally:
        program.stop()


@contextmanager
def peer(database_url: str) -> Iterator[Service]:
    """FastAPI with a broadcast."""
    arguments = ("--factory", f"{PEERS}.rest_feed:create_app", f"--port={free_port()}", "--loop=uvloop")
    environment = {"MENTORSYNC_DATABASE_URL": database_url}
    program = Program(python_module("uvicorn", *arguments, "--timeout-graceful-shutdown=1"), environment)
    try:
        yield Service(program, database_url, program.wait_for(UVICORN))
    finally:
        program.stop()


def received_after(streams: Streams, expected: int) -> Figures:
    """The figures, once so many changes have come, or none come any more."""
    figures = streams.figures()
    deadline = time.monotonic() + SETTLE_SECONDS
    while figures.changes < expected and time.monotonic() < deadline:
        time.sleep(0.1)
        figures = added(figures, streams.figures())
    return figures


def added(figures: Figures, later: Figures) -> Figures:
    receipts = dict(figures.receipts)
    for event, times in later.receipts.items():
        receipts[event] = receipts.get(event, []) + times
    return Figures(
        figures.changes + later.changes,
        figures.bytes + later.bytes,
        figures.cpu + later.cpu,
        later.current,
        receipts,
    )


def delays(figures: Figures, database_url: str) -> list[float]:
    """Milliseconds from each event's time in the database, just before its commit, until each receipt."""
    changed_at = _changed_at(database_url)
    return [
        times * 1e3 - changed_at[event] / 1e3 for event, all_times in figures.receipts.items() for times in all_times
    ]


def p50_and_p99(values: list[float]) -> tuple[float, float]:
    return percentile(values, 50), percentile(values, 99)


def _changed_at(database_url: str) -> dict[str, int]:
    """Microseconds since the Unix epoch, by event."""
    if database_url.startswith("postgres"):
        with psycopg.connect(database_url) as connection:
            return dict(connection.execute(CHANGED_AT).fetchall())
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        return dict(connection.execute(CHANGED_AT).fetchall())
