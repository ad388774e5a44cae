"""The usual storage of a service: Peewee's ORM in a thread pool, with a transaction for each request."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import Any, TypeVar

from mentorsync.domain.errors import EventNotFoundError, IdempotencyKeyReusedError, MentorNotFoundError
from mentorsync.domain.ledger import draw_event_id
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import INITIAL_STATUS, Accepted, EventType, MentorStatus, decide, effective_time
from mentorsync.storage.reader import Page, PublishedEvent, Snapshot
from mentorsync.storage.sqlite.engine import system_clock
from mentorsync.storage.statements import SNAPSHOT_EVENTS
from peewee import IntegrityError, SqliteDatabase

from tests.benchmarks.peers.orm_models import Event, Mentor, open_database

Result = TypeVar("Result")
ORDER = Event._meta.primary_key  # noqa: SLF001 - Peewee documents this way to its automatic field
THREADS = 40  # the number of threads in which FastAPI runs plain functions


class Orm:
    """Each method runs one transaction, on the calling thread's own connection."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        # SQLite recommends that a writing transaction takes the lock at its start. Otherwise its first write may fail.
        is_sqlite = isinstance(self._database, SqliteDatabase)
        self._begin = ("IMMEDIATE",) if is_sqlite else ()
        # SQLite has one writer. Threads that queue for this lock have a tenth of the p99 of threads that poll.
        self._write_lock = Lock() if is_sqlite else nullcontext()

    def write(self, operation: Operation) -> SyncEvent:
        try:
            return self._transact(operation)
        except IntegrityError:  # another request used the same key first, or created the mentor
            return self._transact(operation)

    def page(self, page: int, limit: int, mentor_id: str | None) -> Page:
        query = Event.select().where(Event.pending)
        if mentor_id is not None:
            query = query.where(Event.mentor_id == mentor_id)
        with self._database.atomic():
            total = query.count()
            return Page(_to_published(query.order_by(ORDER).paginate(page, limit)), total)

    def snapshot(self, mentor_id: str) -> Snapshot:
        with self._database.atomic():
            mentor = Mentor.get_or_none(Mentor.mentor_id == mentor_id)
            if mentor is None:
                raise MentorNotFoundError(mentor_id)
            pending = Event.select().where(Event.pending, Event.mentor_id == mentor_id)
            events = _to_published(pending.order_by(ORDER).limit(SNAPSHOT_EVENTS))
        return Snapshot(mentor_id, MentorStatus(mentor.status), mentor.last_updated, events)

    def _transact(self, operation: Operation) -> SyncEvent:
        with self._write_lock, self._database.atomic(*self._begin):
            match operation:
                case SubmitOperation():
                    return _to_record(self._submit(operation))
                case UpdateOperation():
                    return _to_record(self._update(operation))
                case DeleteOperation():
                    return _to_record(self._delete(operation))

    def _submit(self, submit: SubmitOperation) -> Any:
        if submit.request_key is not None:
            earlier = Event.get_or_none(Event.request_key == submit.request_key)
            if earlier is not None:
                if earlier.payload_digest != submit.payload_digest:
                    raise IdempotencyKeyReusedError
                return earlier
        mentor = self._first_locked(Mentor.select().where(Mentor.mentor_id == submit.mentor_id))
        now = max(system_clock(), mentor.last_updated) if mentor else system_clock()
        event_effective_time = effective_time(submit.client_timestamp, now)
        decision = decide(
            MentorStatus(mentor.status) if mentor else INITIAL_STATUS,
            mentor.last_effective_time if mentor else None,
            submit.event_type,
            event_effective_time,
        )
        accepted = isinstance(decision, Accepted)
        if accepted:
            values = {"status": decision.status, "last_updated": now, "last_effective_time": event_effective_time}
            _save_mentor(mentor, submit.mentor_id, values)
        return Event.create(
            sync_event_id=draw_event_id(),
            mentor_id=submit.mentor_id,
            event_type=submit.event_type,
            client_timestamp=None if submit.client_timestamp is None else submit.client_timestamp // 1_000,
            accepted=accepted,
            resulting_status=decision.status,
            acknowledged=False,
            pending=accepted,
            reason=submit.reason,
            server_timestamp=now,
            updated_at=now,
            request_key=submit.request_key,
            payload_digest=submit.payload_digest,
        )

    def _update(self, update: UpdateOperation) -> Any:
        event = self._first_locked(Event.select().where(Event.sync_event_id == update.sync_event_id))
        if event is None or event.deleted_at is not None:
            raise EventNotFoundError(update.sync_event_id)
        acknowledged = event.acknowledged if update.acknowledged is None else update.acknowledged
        reason = event.reason if update.reason is None else update.reason
        if (acknowledged, reason) != (event.acknowledged, event.reason):
            event.acknowledged, event.reason, event.updated_at = acknowledged, reason, system_clock()
            event.pending = event.accepted and not acknowledged
            event.save(only=[Event.acknowledged, Event.reason, Event.updated_at, Event.pending])
        return event

    def _delete(self, delete: DeleteOperation) -> Any:
        event = self._first_locked(Event.select().where(Event.sync_event_id == delete.sync_event_id))
        if event is None:
            raise EventNotFoundError(delete.sync_event_id)
        if event.deleted_at is None:
            event.reason, event.pending = "", False
            event.updated_at = event.deleted_at = system_clock()
            event.save(only=[Event.reason, Event.pending, Event.updated_at, Event.deleted_at])
        return event

    def _first_locked(self, query: Any) -> Any:
        """Returns the first row of a query, or None. Locks the row if the engine has row locks."""
        return (query.for_update() if self._database.for_update else query).first()


class ThreadedOrm:
    """The same storage for an event loop: each call runs in a thread pool."""

    def __init__(self, url: str, threads: int = THREADS) -> None:
        self._orm = Orm(url)
        self._executor = ThreadPoolExecutor(threads)

    async def page(self, page: int, limit: int, mentor_id: str | None) -> Page:
        return await self._run(self._orm.page, page, limit, mentor_id)

    async def snapshot(self, mentor_id: str) -> Snapshot:
        return await self._run(self._orm.snapshot, mentor_id)

    async def write(self, operation: Operation) -> SyncEvent:
        return await self._run(self._orm.write, operation)

    async def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _save_mentor(mentor: Mentor | None, mentor_id: str, values: dict[str, int]) -> None:
    if mentor is None:
        Mentor.create(mentor_id=mentor_id, **values)
    else:
        for name, value in values.items():
            setattr(mentor, name, value)
        mentor.save()


def _to_record(event: Any) -> SyncEvent:
    return SyncEvent(
        sequence=event.id,
        revision=event.id,
        sync_event_id=event.sync_event_id,
        mentor_id=event.mentor_id,
        event_type=EventType(event.event_type),
        client_timestamp=event.client_timestamp,
        accepted=event.accepted,
        resulting_status=MentorStatus(event.resulting_status),
        acknowledged=event.acknowledged,
        reason=event.reason,
        server_timestamp=event.server_timestamp,
        updated_at=event.updated_at,
        deleted_at=event.deleted_at,
        request_key=event.request_key,
        payload_digest=event.payload_digest,
    )


def _to_published(events: Any) -> list[PublishedEvent]:
    return [
        PublishedEvent(
            event.sync_event_id,
            event.mentor_id,
            EventType(event.event_type),
            MentorStatus(event.resulting_status),
            event.server_timestamp,
        )
        for event in events
    ]
