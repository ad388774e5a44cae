"""The client for threads. `asynchronous.py` is the same for asyncio."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, Self, Unpack

import grpc

from mentorstatus_client import calls
from mentorstatus_client.base import CallOptions, Client
from mentorstatus_client.calls import Call, Result
from mentorstatus_client.errors import MentorStatusSyncError, error_of
from mentorstatus_client.listing import Listing
from mentorstatus_client.values import (
    DeletedEvent,
    EventType,
    FeedMessage,
    MentorSnapshot,
    SubmittedEvent,
    SyncEvent,
    SyncEventPage,
    UpdatedEvent,
)
from mentorstatus_client.watching import Watch


class MentorStatusSyncClient(Client):
    __doc__ = Client.__doc__
    _transport: ClassVar = grpc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Calls that still run are cancelled."""
        self._is_closed.set()
        self._channel.close()

    def list_sync_events(
        self,
        *,
        page: int | None = None,
        limit: int | None = None,
        mentor_id: str | None = None,
        **options: Unpack[CallOptions],
    ) -> SyncEventPage:
        """One page of the pending events, oldest first. `iter_sync_events` reads all pages."""
        return self._call(calls.list_sync_events(page, limit, mentor_id), options)

    def iter_sync_events(self, *, mentor_id: str | None = None, **options: Unpack[CallOptions]) -> Iterator[SyncEvent]:
        """All pending events, oldest first, page by page. An event that stays pending is given exactly once."""
        listing = Listing(mentor_id)
        while not listing.is_complete:
            yield from listing.take(self._call(listing.next_call(), options))

    def get_mentor_status(self, mentor_id: str, **options: Unpack[CallOptions]) -> MentorSnapshot:
        """The status of one mentor and its pending events. MentorNotFoundError if the mentor has no event yet."""
        return self._call(calls.get_mentor_status(mentor_id), options)

    def submit_event(
        self,
        mentor_id: str,
        event_type: EventType,
        *,
        reason: str | None = None,
        client_timestamp: datetime | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[CallOptions],
    ) -> SubmittedEvent:
        """Records a status event. One that is stale or not allowed is no error: `accepted` is False.

        Each submit has its own random idempotency key, so retries never record the event twice. To repeat a submit that
        failed, pass the error's `idempotency_key`.
        """
        call = calls.submit_event(mentor_id, event_type, reason, client_timestamp, idempotency_key)
        return self._call(call, options)

    def update_event(
        self,
        sync_event_id: str,
        *,
        acknowledged: bool | None = None,
        reason: str | None = None,
        **options: Unpack[CallOptions],
    ) -> UpdatedEvent:
        """Acknowledges an event, makes it pending again, or changes its reason. Needs at least one of the two."""
        return self._call(calls.update_event(sync_event_id, acknowledged, reason), options)

    def delete_event(self, sync_event_id: str, **options: Unpack[CallOptions]) -> DeletedEvent:
        """Deletes an event and its reason. The mentor's status does not change."""
        return self._call(calls.delete_event(sync_event_id), options)

    def watch(
        self,
        *,
        mentor_ids: Sequence[str] = (),
        cursor: str | None = None,
        changes_only: bool = False,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[FeedMessage]:
        """The live feed: the present state, then every change, without an end.

        After a lost connection it continues where it was. It raises an error if the first stream brings nothing, or if
        the service refuses to continue. With the last `cursor` of an earlier watch it continues after that one.
        """
        watch = Watch(mentor_ids, cursor, changes_only)
        while True:
            yield from watch.start()
            call = watch.next_call()
            arguments = self._arguments(call, {"timeout": None, "metadata": metadata})
            stream = getattr(self._stub, call.method)(call.request, **arguments)
            try:
                for message in stream:
                    yield from watch.take(call.read(message))
            except grpc.RpcError as error:
                watch.check(error_of(error, arguments["metadata"]))
            finally:
                stream.cancel()
            if self._is_closed.wait(watch.next_pause()):
                request_id = dict(arguments["metadata"])["x-request-id"]
                raise MentorStatusSyncError(grpc.StatusCode.CANCELLED, "the client was closed", request_id=request_id)

    def _call(self, call: Call[Result], options: CallOptions) -> Result:
        arguments = self._arguments(call, options)
        try:
            answer = getattr(self._stub, call.method)(call.request, **arguments)
        except grpc.RpcError as error:
            raise error_of(error, arguments["metadata"]) from error
        return call.read(answer)
