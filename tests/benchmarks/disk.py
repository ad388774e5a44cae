"""The upper limits that the disk and SQLite set: fdatasync alone, and transactions of one batch of rows each."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.statistics import percentile

APPENDED = bytes(4_096)  # one page of a write-ahead log


def run_fdatasync(path: Path, _batch: int, seconds: float) -> LoadResult:
    """Appends a page and syncs it, again and again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        os.write(descriptor, APPENDED)
        os.fdatasync(descriptor)

    try:
        return _repeat(append, 1, seconds)
    finally:
        os.close(descriptor)


def run_group_commit(path: Path, batch: int, seconds: float) -> LoadResult:
    """Inserts `batch` rows in each durable transaction. A row has the size and the indexes of an event."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute(
        "CREATE TABLE rows (n INTEGER PRIMARY KEY, id TEXT UNIQUE, owner TEXT, rest TEXT, key TEXT UNIQUE)"
    )
    connection.execute("CREATE INDEX rows_owner ON rows (owner, n)")

    def insert() -> None:
        rows = [
            (f"evt_{os.urandom(8).hex()}", f"mntr_{number:06}", "Taking a short break", os.urandom(16).hex())
            for number in range(batch)
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO rows (id, owner, rest, key) VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    try:
        return _repeat(insert, batch, seconds)
    finally:
        connection.close()


def _repeat(action: Callable[[], None], operations: int, seconds: float) -> LoadResult:
    durations = []
    started = now = time.perf_counter()
    while now - started < seconds:
        before = now
        action()
        now = time.perf_counter()
        durations.append((now - before) * 1e6)
    p50, p99 = percentile(durations, 50), percentile(durations, 99)
    return LoadResult(len(durations) * operations, now - started, p50, p99, errors=0, generator=0)
