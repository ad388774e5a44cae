"""The two formats of the feed: protobuf messages, and server-sent events in the messages of a streamed HttpBody.

See https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import random
from collections.abc import Sequence
from typing import Protocol

from google.api import httpbody_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.feed.cursor import Cursor
from mentorsync.feed.encoding import EncodedChange, compact_json, snapshot_fields
from mentorsync.feed.resets import ResetReason
from mentorsync.published import encoded_snapshot
from mentorsync.storage.reader import Snapshot

EVENT_STREAM = "text/event-stream"
RETRY_MILLISECONDS = (2_000, 5_000)  # a client's pause after a lost connection, chosen at random
LEAVING_MILLISECONDS = (1_000, 10_000)  # after GOING_AWAY: thousands of clients must not come back at once
Response = pb.WatchSyncEventsResponse
CHANGES_HEAD = Response(kind=Response.CHANGES).SerializeToString()


class Format(Protocol):
    """Makes the encoded messages of a stream. `opening`, if there is one, is sent before all others."""

    def opening(self) -> bytes | None: ...
    def snapshot(self, snapshot: Snapshot) -> bytes: ...
    def present(self, changes: Sequence[EncodedChange]) -> bytes: ...
    def current(self, cursor: Cursor) -> bytes: ...
    def changes(self, changes: Sequence[EncodedChange], cursor: Cursor) -> bytes:
        """`cursor` is the point after the last change."""

    def heartbeat(self, cursor: Cursor) -> bytes: ...
    def reset(self, reason: ResetReason) -> bytes: ...
    def going_away(self) -> bytes: ...


class Messages:
    """Each message is a WatchSyncEventsResponse."""

    def opening(self) -> None:
        return None

    def snapshot(self, snapshot: Snapshot) -> bytes:
        message = pb.GetMentorStatusResponse.FromString(encoded_snapshot(snapshot))
        return Response(kind=Response.SNAPSHOT, snapshot=message).SerializeToString()

    def present(self, changes: Sequence[EncodedChange]) -> bytes:
        head = Response(kind=Response.PRESENT).SerializeToString()
        return head + b"".join(change.message for change in changes)

    def current(self, cursor: Cursor) -> bytes:
        return Response(kind=Response.CURRENT, cursor=str(cursor)).SerializeToString()

    def changes(self, changes: Sequence[EncodedChange], cursor: Cursor) -> bytes:
        # Protobuf joins messages by joining their bytes, so that each change is encoded once for all receivers.
        tail = Response(cursor=str(cursor)).SerializeToString()
        return CHANGES_HEAD + b"".join([change.message for change in changes]) + tail

    def heartbeat(self, cursor: Cursor) -> bytes:
        return Response(kind=Response.HEARTBEAT, cursor=str(cursor)).SerializeToString()

    def reset(self, reason: ResetReason) -> bytes:
        return Response(kind=Response.RESET, reset_reason=Response.ResetReason.Value(reason.name)).SerializeToString()

    def going_away(self) -> bytes:
        return Response(kind=Response.GOING_AWAY).SerializeToString()


class ServerSentEvents:
    """Each message is an HttpBody with one event or several."""

    def opening(self) -> bytes:
        body = httpbody_pb2.HttpBody(content_type=EVENT_STREAM, data=_retry(RETRY_MILLISECONDS).encode())
        return bytes(body.SerializeToString())  # the class has no types

    def snapshot(self, snapshot: Snapshot) -> bytes:
        return _body(_event("snapshot", compact_json(snapshot_fields(snapshot))))

    def present(self, changes: Sequence[EncodedChange]) -> bytes:
        return _body(_event("present", f'{{"changes":[{",".join(change.json for change in changes)}]}}'))

    def current(self, cursor: Cursor) -> bytes:
        return _body(f"id: {cursor}\n{_event('current', '{}')}")

    def changes(self, changes: Sequence[EncodedChange], cursor: Cursor) -> bytes:
        points = (cursor._replace(revision=change.revision) for change in changes)
        events = (_event("change", change.json) for change in changes)
        return _body("".join([f"id: {point}\n{event}" for point, event in zip(points, events, strict=True)]))

    def heartbeat(self, cursor: Cursor) -> bytes:
        return _body(f": heartbeat\nid: {cursor}\n\n")  # without data, the id counts and no handler is called

    def reset(self, reason: ResetReason) -> bytes:
        # The empty id makes a browser drop its cursor. With the old one it could go on at another server, without the
        # rest of the present state, if the connection were lost before CURRENT.
        return _body("id: \n" + _event("reset", f'{{"reason":"{reason.name}"}}'))

    def going_away(self) -> bytes:
        return _body(_retry(LEAVING_MILLISECONDS) + _event("going-away", "{}"))


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"


def _retry(milliseconds: tuple[int, int]) -> str:
    return f"retry: {random.randint(*milliseconds)}\n\n"  # noqa: S311 - spreads load, protects nothing


def _body(text: str) -> bytes:
    return bytes(httpbody_pb2.HttpBody(data=text.encode()).SerializeToString())  # as above
