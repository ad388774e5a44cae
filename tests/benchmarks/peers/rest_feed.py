"""FastAPI over Peewee's ORM, with a broadcast of submits as server-sent events. An application factory for uvicorn.

The broadcast is the cheapest that such an application can have: each event is encoded once, in the process that wrote
it, and put into a queue of each subscriber. There are no cursors, no present state and no heartbeats.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from mentorsync.config import DATABASE_URL
from mentorsync.domain.operations import Operation
from mentorsync.domain.records import SyncEvent

from tests.benchmarks.peers.orm import ThreadedOrm
from tests.benchmarks.peers.rest import build_app
from tests.benchmarks.peers.rest_messages import SubmitResponse
from tests.benchmarks.peers.storage import Storage
from tests.contract import BASE

QUEUED_EVENTS = 1_000  # for one subscriber; more are dropped


class BroadcastingOrm:
    """Hands each written event to all subscribers."""

    def __init__(self, orm: ThreadedOrm, subscribers: set[asyncio.Queue[str]]) -> None:
        self._orm = orm
        self._subscribers = subscribers

    async def write(self, operation: Operation) -> SyncEvent:
        event = await self._orm.write(operation)
        text = f"event: change\ndata: {SubmitResponse.of(event).model_dump_json()}\n\n"
        for queue in self._subscribers:
            if not queue.full():
                queue.put_nowait(text)
        return event


def create_app() -> FastAPI:
    subscribers: set[asyncio.Queue[str]] = set()

    @asynccontextmanager
    async def open_orm() -> AsyncIterator[Storage]:
        orm = ThreadedOrm(os.environ[DATABASE_URL.variable])
        yield Storage(orm, BroadcastingOrm(orm, subscribers))

    async def events() -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(QUEUED_EVENTS)
        subscribers.add(queue)
        try:
            yield "event: current\ndata: {}\n\n"
            while True:
                text = await queue.get()
                while not queue.empty():  # what waits is sent at once
                    text += queue.get_nowait()
                yield text
        finally:
            subscribers.discard(queue)

    app = build_app(open_orm)

    @app.get(f"{BASE}/watch")
    async def watch() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    app.router.routes.insert(0, app.router.routes.pop())  # else it would be the path of a mentor
    return app
