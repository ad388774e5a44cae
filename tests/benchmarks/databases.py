"""The databases of the variants: made from templates for each round, and looked at afterwards."""

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.filling import fill, fill_orm
from tests.benchmarks.load.result import LoadResult

MENTORS = 1_000
PENDING = 1_000  # what lists are measured on
SUBMITTING_MENTORS = 10_000  # most of them new
# The events that updates and deletes go through: more than one measurement gets to.
FIRST_UPDATED = 2_000
FIRST_DELETED = 51_000
CHANGED = 49_000
EVENTS = 100_000
EVENTS_OF_A_MENTOR = 10  # where growth is measured
CONDITIONS = {"submit": "TRUE", "update": "reason LIKE 'Corrected%'", "delete": "deleted_at IS NOT NULL"}


@dataclass(frozen=True)
class EventTable:
    """Where a variant keeps its events."""

    url: str
    table: str

    def count(self, operation: str) -> int | None:
        """How many events show the operation; None where it leaves no trace."""
        condition = CONDITIONS.get(operation)
        if condition is None:
            return None
        sql = f"SELECT COUNT(*) FROM {self.table} WHERE {condition}"  # noqa: S608 - of the names above
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
    """What a load did that the database does not show, or the other way round; "" when all is right. The requests in
    flight at the end may be done or not.
    """
    if load.errors:
        return f"{load.errors} of {load.requests} answers were errors"
    if not load.requests:
        return "nothing was answered"
    if before is not None and after is not None:
        done = after - before
        if not load.requests <= done <= load.requests + in_flight:
            return f"{load.requests} answered, {done} in the database"
    return ""


class Templates:
    """SQLite databases with EVENTS events, made once and copied."""

    def __init__(self, directory: Path) -> None:
        self._paths = {"events": directory / "events.template", "event": directory / "event.template"}
        fill(f"sqlite:///{self._paths['events']}", EVENTS, PENDING, MENTORS)
        fill_orm(f"sqlite:///{self._paths['event']}", EVENTS, PENDING, MENTORS)

    def copy(self, table: str, path: Path) -> EventTable:
        """table: "events" for the service's schema, "event" for the ORM's."""
        shutil.copyfile(self._paths[table], path)
        return EventTable(f"sqlite:///{path}", table)
