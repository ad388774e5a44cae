"""The reads: one query each, and nothing that blocks the event loop for long."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from mentorsync.domain.errors import MentorNotFoundError
from mentorsync.domain.status import MentorStatus
from mentorsync.storage.errors import OverloadedError, StorageUnavailableError
from mentorsync.storage.rows import Row
from mentorsync.time_limits import ANSWER_SECONDS, PROBE_ANSWER_SECONDS

DEEP_OFFSET = 2_000  # from here on an OFFSET takes so long (42 ms at 1,000,000) that it would delay other calls
MAX_READS = 512  # waiting or running; a list of 100 takes up to 1 ms, so they hold up other calls for 0.5 s at most
MAX_DEEP_READS = 64  # waiting or running; at 42 ms each the last one is answered within 3 s

Answer = TypeVar("Answer")


class PublishedEvent(NamedTuple):
    """A pending event as lists and snapshots show it. It is not acknowledged. server_timestamp: microseconds.

    event_type and resulting_status are the numbers of an EventType and a MentorStatus: to make enums of them would take
    as long as to read them.
    """

    sync_event_id: str
    mentor_id: str
    event_type: int
    resulting_status: int
    server_timestamp: int


# The fields of a PublishedEvent. A page of 100 would take 40 microseconds longer if each field got its name.
EventRow: TypeAlias = tuple[str, str, int, int, int]


class Page(NamedTuple):
    events: Sequence[EventRow]
    total: int


class Snapshot(NamedTuple):
    """A mentor's status with its oldest pending events. last_updated: microseconds."""

    mentor_id: str
    status: MentorStatus
    last_updated: int
    pending_events: Sequence[EventRow]


class Statements(Protocol):
    page: str
    filled_page: str  # may return no row if the page is empty
    page_from_end: str
    mentor_page: str
    snapshot: str
    probe: str


class Reader:
    """Answers reads from `query`, an engine's function from SQL and parameters to rows.

    `executor` is None if queries are fast enough to run on the event loop. Deep pages always run on `deep_executor`.
    Reads may come from several event loops. Every method raises StorageUnavailableError when the database fails or
    takes too long. `page` and `snapshot` raise OverloadedError when too many reads, or too many deep pages, wait.
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
        self._slots = deque([None] * MAX_READS)  # as safe among threads as a semaphore, at a tenth of its cost
        self._deep_slots = threading.BoundedSemaphore(MAX_DEEP_READS)
        self._latest_total = 0  # an estimate: it only decides from which end of the log a page is read

    async def page(self, page: int, limit: int, mentor_id: str | None) -> Page:
        """Returns a page, counted from 1, of all pending events or of one mentor's, oldest first."""
        offset = (page - 1) * limit
        if mentor_id is None:
            rows = await self._page_of_all(offset, limit)
            self._latest_total = rows[0][0]
        else:
            run = self._run_deep if offset >= DEEP_OFFSET else self._run_bounded
            parameters = (mentor_id, offset, mentor_id, limit, offset, mentor_id)
            rows = await run(self._statements.mentor_page, parameters)
        return Page(event_rows(rows, 1), rows[0][0] if rows else 0)

    async def _page_of_all(self, offset: int, limit: int) -> list[Row]:
        """The rows of a page: the total, and an event or NULLs."""
        statements, parameters = self._statements, (offset, limit, offset)
        if offset < DEEP_OFFSET:
            return await self._run_bounded(statements.filled_page, parameters) or (
                await self._run_bounded(statements.page, parameters)
            )
        end = offset + limit
        if self._latest_total - end < offset:
            return await self._run_deep(statements.page_from_end, (end, limit, offset, offset, end, end))
        return await self._run_deep(statements.page, parameters)

    async def snapshot(self, mentor_id: str) -> Snapshot:
        """Raises MentorNotFoundError for a mentor without an event."""
        rows = await self._run_bounded(self._statements.snapshot, (mentor_id,))
        if not rows:
            raise MentorNotFoundError(mentor_id)
        status, last_updated, first_event_id, *_ = rows[0]
        events = [
            (sync_event_id, mentor_id, event_type, resulting_status, server_timestamp)
            for _, _, sync_event_id, event_type, resulting_status, server_timestamp in rows
        ]
        return Snapshot(mentor_id, MentorStatus(status), last_updated, [] if first_event_id is None else events)

    async def probe(self) -> None:
        """Reads one row, to find out whether reads work."""
        await self._run(self._statements.probe, (), PROBE_ANSWER_SECONDS)

    async def _run(self, sql: str, parameters: tuple[Any, ...], seconds: float) -> list[Row]:
        if self._executor is None:
            return self._query(sql, parameters)
        return await wait_for_answer(self._executor.submit(self._query, sql, parameters), seconds)

    async def _run_bounded(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        try:
            slot = self._slots.pop()
        except IndexError:
            raise OverloadedError from None
        try:
            await asyncio.sleep(0)  # lets the other calls that have arrived come this far, so that they are counted
            return await self._run(sql, parameters, ANSWER_SECONDS)
        finally:
            self._slots.append(slot)

    async def _run_deep(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        if not self._deep_slots.acquire(blocking=False):
            raise OverloadedError
        future = self._deep_executor.submit(self._query, sql, parameters)
        future.add_done_callback(lambda _future: self._deep_slots.release())
        return await wait_for_answer(future, ANSWER_SECONDS)


async def wait_for_answer(future: "Future[Answer]", seconds: float) -> Answer:
    """Waits for a query. Cancels it, unless it runs already, if the caller is cancelled or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise StorageUnavailableError("the database takes too long") from error


def event_rows(rows: Sequence[Row], first: int) -> list[EventRow]:
    """The events in the columns from `first` on."""
    if not rows or rows[0][first] is None:  # a left join gives a row of NULLs where there is no event
        return []
    return [row[first:] for row in rows]
