"""What a phone shows of its mentor: a snapshot, then the live feed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from mentorsync.simulate.phone import UnreachableError

PAUSE_SECONDS = 1.0  # until the stream has said how long to wait


class FeedEvent(NamedTuple):
    """A server-sent event. `id` is the cursor after it, or empty."""

    name: str
    data: Any
    id: str


class Feed(Protocol):
    def watch(self, mentor_id: str | None, cursor: str | None) -> AsyncIterator[FeedEvent]:
        """Yields events until the stream ends. Raises UnreachableError."""


class View:
    """The state of one mentor."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.pending: dict[str, dict[str, Any]] = {}
        self.cursor: str | None = None
        self.resets = 0
        self.seen: dict[
            str, str
        ] = {}  # the mentor of each event; of no use to a real phone: the simulator looks for gaps in it

    def forget(self) -> None:
        """Drops the state. The present one follows: without this mentor, if the service no longer knows it."""
        self.status = None
        self.pending.clear()
        self.cursor = None

    def hydrate(self, snapshot: dict[str, Any]) -> None:
        """Takes a snapshot, from the feed or from `GET …/{mentor_id}`, in place of what was known."""
        self.status = snapshot["status"]
        self.pending = {event["sync_event_id"]: event for event in snapshot["pending_events"]}
        self.seen |= dict.fromkeys(self.pending, snapshot["mentor_id"])

    def apply(self, event: FeedEvent) -> None:
        """Applies one event of the feed. Only then its cursor may be kept."""
        match event.name:
            case "reset":
                self.forget()
                self.resets += 1
            case "snapshot":
                self.hydrate(event.data)
            case "present":
                for change in event.data["changes"]:
                    self._upsert(change)
            case "change":
                self._upsert(event.data)
                self.status = event.data["mentor_status"]
        self.cursor = event.id or self.cursor

    def _upsert(self, change: dict[str, Any]) -> None:
        event = change["event"]
        self.seen[event["sync_event_id"]] = event["mentor_id"]
        if change["pending"] and not change["deleted"]:
            self.pending[event["sync_event_id"]] = event
        else:
            self.pending.pop(event["sync_event_id"], None)


async def follow(feed: Feed, view: View, mentor_id: str | None) -> None:
    """Keeps a view up to date. After a lost connection the feed continues at the view's cursor."""
    pause = PAUSE_SECONDS
    while True:
        if view.cursor is None:  # the stream begins with the whole present state
            view.forget()
        try:
            async for event in feed.watch(mentor_id, view.cursor):
                if event.name == "retry":
                    pause = event.data / 1000
                else:
                    view.apply(event)
        except UnreachableError:
            pass  # the cursor stays
        await asyncio.sleep(pause)
