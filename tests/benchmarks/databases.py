"""The variants' databases: copied from templates for each round, and checked after each load."""

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.filling import fill, fill_orm
from tests.benchmarks.load.result import LoadResult

MENTORS = 1_000
PENDING = 1_000  # the events that list calls return
SUBMITTING_MENTORS = 10_000  # most of them have no event yet
# Updates and deletes each have a range of CHANGED events, which they change in turn. No measurement reaches its end.
FIRST_UPDATED = 2_000
FIRST_DELETED = 51_000
CHANGED = 49_000
EVENTS = 100_000
EVENTS_OF_A_MENTOR = 10  # in the growth benchmark
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

    def copy(self, table: str, path: Path) -> EventTable:
        """table: "events" for the service's schema, "event" for the ORM's."""
        shutil.copyfile(self._paths[table], path)
        return EventTable(f"sqlite:///{path}", table)
