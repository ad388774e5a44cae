"""The variants' databases: copied from templates for each round, and checked after each load."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from mentorsync.storage.models import PENDING as IS_PENDING

from tests.benchmarks.filling import fill, fill_orm
from tests.benchmarks.load.result import LoadResult

MENTORS = 1_000
PENDING = 1_000  # one for each mentor; the templates have more of them
SUBMITTING_MENTORS = 10_000  # most of them have no event yet
# Updates and deletes each have a range of CHANGED events, which they change in turn. No measurement reaches its end.
FIRST_UPDATED = 2_000
FIRST_DELETED = 51_000
CHANGED = 49_000
EVENTS = 100_000
EVENTS_OF_A_MENTOR = 10  # in the growth benchmark


class MentorGroup(NamedTuple):
    """Some of the MENTORS, who all have the same number of pending events in the templates."""

    first: int
    mentors: int
    pending: int


ONE_PENDING = MentorGroup(0, 800, 1)
TWENTY_PENDING = MentorGroup(800, 100, 20)
HUNDRED_PENDING = MentorGroup(900, 100, 100)
# SQL conditions. Each selects the events that an operation has changed.
CONDITIONS = {"submit": "TRUE", "update": "reason LIKE 'Corrected%'", "delete": "deleted_at IS NOT NULL"}


@dataclass(frozen=True)
class EventTable:
    """The table in which a variant stores its events."""

    url: str
    table: str

    def count(self, operation: str) -> int | None:
        """The number of events that an operation has changed so far, or None for operations that only read."""
        condition = CONDITIONS.get(operation)
        if condition is None:
            return None
        sql = f"SELECT COUNT(*) FROM {self.table} WHERE {condition}"  # noqa: S608 - only names from this module
        connection: Any = (
            sqlite3.connect(self.url.removeprefix("sqlite:///"))
            if self.url.startswith("sqlite:")
            else psycopg.connect(self.url)
        )
        try:
            count: int = connection.execute(sql).fetchone()[0]
        finally:
            connection.close()
        return count


def fault_of(load: LoadResult, in_flight: int, before: int | None, after: int | None) -> str:
    """Compares a load's answers with the database. Returns a description of the difference, or "" if they agree.

    before, after: the number of changed events before and after the load. Requests that were in flight at the end may
    have been applied or not.
    """
    if load.errors:
        return f"{load.errors} of {load.requests} answers were errors"
    if not load.requests:
        return "nothing was answered"
    if before is not None and after is not None:
        applied = after - before
        if not load.requests <= applied <= load.requests + in_flight:
            return f"{load.requests} answered, {applied} in the database"
    return ""


class Templates:
    """SQLite databases with EVENTS events. They are created once and copied for each variant."""

    def __init__(self, directory: Path) -> None:
        self._paths = {"events": directory / "events.template", "event": directory / "event.template"}
        fill(f"sqlite:///{self._paths['events']}", EVENTS, PENDING, MENTORS)
        fill_orm(f"sqlite:///{self._paths['event']}", EVENTS, PENDING, MENTORS)
        with closing(sqlite3.connect(self._paths["events"])) as events, events:
            _make_pending(events, "events", "sequence", "acknowledged = FALSE")
            counted = f"SELECT COUNT(*) FROM events WHERE {IS_PENDING.sql} AND events.mentor_id = mentors.mentor_id"  # noqa: S608 - of our own names
            events.execute(f"UPDATE mentors SET pending_total = ({counted})")  # noqa: S608 - as above
            events.execute("UPDATE log SET pending_total = (SELECT SUM(pending_total) FROM mentors)")
        with closing(sqlite3.connect(self._paths["event"])) as orm_events, orm_events:
            _make_pending(orm_events, "event", "id", "acknowledged = FALSE, pending = TRUE")

    def copy(self, table: str, path: Path) -> EventTable:
        """table: "events" for the service's schema, "event" for the ORM's."""
        shutil.copyfile(self._paths[table], path)
        return EventTable(f"sqlite:///{path}", table)


def _make_pending(connection: sqlite3.Connection, table: str, order: str, changes: str) -> None:
    """Makes more events pending. Event n is of the mentor n modulo MENTORS; `order` is the column of n."""
    for first, mentors, pending in (TWENTY_PENDING, HUNDRED_PENDING):
        connection.execute(
            f"UPDATE {table} SET {changes} WHERE {order} <= {pending * MENTORS} "  # noqa: S608 - of our own names
            f"AND {order} % {MENTORS} BETWEEN {first} AND {first + mentors - 1}"
        )
