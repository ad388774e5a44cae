"""Compares what a database stores with what its callers were told."""

from collections import Counter
from typing import NamedTuple

from tests.databases import execute
from tests.faults.load import Load


class Damage(NamedTuple):
    """lost: answered writes that are not stored. doubled: writes that are stored more than once."""

    lost: int
    doubled: int


def find_damage(database_url: str, *loads: Load) -> Damage:
    """Every submit of these loads has a reason of its own, by which it is found."""
    rows = execute(database_url, "SELECT reason, sync_event_id FROM events")
    copies = Counter(reason for reason, _ in rows)
    stored = set(rows)
    lost = sum(tuple(answered) not in stored for load in loads for answered in load.answered)
    return Damage(lost, copies.total() - len(copies))


def check_database(database_url: str, *loads: Load) -> None:
    """No answered write is lost, no write is stored twice, and the log has no gap and the correct totals."""
    assert find_damage(database_url, *loads) == Damage(lost=0, doubled=0)
    sequences = [sequence for (sequence,) in execute(database_url, "SELECT sequence FROM events ORDER BY sequence")]
    count = len(sequences)
    assert sequences == list(range(1, count + 1))
    assert execute(database_url, "SELECT last_revision, pending_total FROM log") == [(count, count)]
    assert execute(database_url, "SELECT CAST(sum(pending_total) AS INTEGER) FROM mentors") == [(count,)]
