"""The reads: one query each, and nothing that could hold up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, Protocol

from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.rows import Row

ANSWER_SECONDS = 8.0  # as for writes: before the deadline that the gateway sets
PROBE_ANSWER_SECONDS = 3.0  # far beyond what a probe may queue behind busy reads
DEEP_OFFSET = 2_000  # from here on an OFFSET costs so much (42 ms at 1,000,000) that others would feel it


class PublishedEvent(NamedTuple):
    """A pending event as lists and snapshots show it. server_timestamp: microseconds."""

    sync_event_id: str
    mentor_id: str
    event_type: EventType
    resulting_status: MentorStatus
    server_timestamp: int
    acknowledged: bool


class Page(NamedTuple):
    events: list[PublishedEvent]
    total: int


class Snapshot(NamedTuple):
    """A mentor's status with its oldest pending events. last_updated: microseconds."""

    mentor_id: str
    status: MentorStatus
    last_updated: int
    pending_events: list[PublishedEvent]


class Statements(Protocol):
    page: str
    page_from_end: str
    mentor_page: str
    snapshot: str
    probe: str


class Reader:
    """Answers reads from `query`, an engine's function from SQL and parameters to rows.

    `executor` None means that a query is so fast that it runs on the event loop itself. Every method may raise
    StorageUnavailableError, also when the database takes too long.
    """

    def __init__(
        self,
        query: Callable[[str, tuple[Any, ...]], list[Row]],
        statements: Statements,
        executor: Executor | None,
        deep_executor: Executor,
    ) -> None:
        self._query = query
        self._statements = statements
        self._executor = executor
        self._deep_executor = deep_executor
        self._latest_total = 0  # only says which end of the log a page is nearer to

    async def page(self, page: int, limit: int, mentor_id: str | None) -> Page:
        """One page, counted from 1, of all pending events or one mentor's, oldest first."""
        offset, end = (page - 1) * limit, page * limit
        is_deep = offset >= DEEP_OFFSET
        sql = self._statements.page
        parameters: tuple[Any, ...] = (offset, limit, offset)
        if mentor_id is not None:
            sql = self._statements.mentor_page
            parameters = (mentor_id, offset, mentor_id, limit, offset, mentor_id)
        elif is_deep and self._latest_total - end < offset:
            sql = self._statements.page_from_end
            parameters = (end, limit, offset, offset, end, end)
        rows = await self._run(self._deep_executor if is_deep else self._executor, sql, parameters)
        total = rows[0][0] if rows else 0
        if mentor_id is None:
            self._latest_total = total
        return Page(_published(rows, 1), total)

    async def snapshot(self, mentor_id: str) -> Snapshot:
        """Raises MentorNotFoundError for a mentor without an event."""
        rows = await self._run(self._executor, self._statements.snapshot, (mentor_id,))
        if not rows:
            raise MentorNotFoundError(mentor_id)
        status, last_updated, *_ = rows[0]
        return Snapshot(mentor_id, MentorStatus(status), last_updated, _published(rows, 2))

    async def probe(self) -> None:
        """Reads one row, to find out whether reads work."""
        await self._run(self._executor, self._statements.probe, (), PROBE_ANSWER_SECONDS)

    async def _run(
        self, executor: Executor | None, sql: str, parameters: tuple[Any, ...], seconds: float = ANSWER_SECONDS
    ) -> list[Row]:
        if executor is None:
            return self._query(sql, parameters)
        rows = asyncio.get_running_loop().run_in_executor(executor, partial(self._query, sql, parameters))
        try:
            async with asyncio.timeout(seconds):
                return await rows
        except TimeoutError as error:
            raise StorageUnavailableError("the database takes too long") from error


def _published(rows: list[Row], first: int) -> list[PublishedEvent]:
    # A left join gives a row of NULLs where there is no event.
    return [PublishedEvent(*row[first:]) for row in rows if row[first] is not None]
