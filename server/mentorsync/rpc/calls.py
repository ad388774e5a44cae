"""The five calls: request message in, response message out."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.rpc import validation
from mentorsync.storage.reader import PublishedEvent, Reader
from mentorsync.storage.writer import Writer


class CallContext(NamedTuple):
    """What a call is given beside its message. `idempotency_keys`: every value of that metadata key."""

    request_id: str
    idempotency_keys: list[str]


class Calls:
    """Each method validates, asks storage, and converts.

    They raise InvalidFieldsError, DomainError and StorageError, which `rpc.errors` maps.
    """

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def list_sync_events(
        self, request: pb.ListSyncEventsRequest, _context: CallContext
    ) -> pb.ListSyncEventsResponse:
        page, limit, mentor_id = validation.page_query(request)
        result = await self._reader.page(page, limit, mentor_id)
        return pb.ListSyncEventsResponse(
            data=_sync_events(result.events),
            pagination=pb.Pagination(page=page, limit=limit, total=result.total),
        )

    async def get_mentor_status(
        self, request: pb.GetMentorStatusRequest, _context: CallContext
    ) -> pb.GetMentorStatusResponse:
        snapshot = await self._reader.snapshot(validation.mentor_id_of(request))
        return pb.GetMentorStatusResponse(
            mentor_id=snapshot.mentor_id,
            status=snapshot.status,  # type: ignore[arg-type]  # the domain's numbers are the protobuf enum's
            is_eligible_for_assignment=snapshot.status.is_eligible_for_assignment,
            last_updated=_published_time(snapshot.last_updated),
            pending_events=_sync_events(snapshot.pending_events),
        )

    async def submit_event(self, request: pb.SubmitEventRequest, context: CallContext) -> pb.SubmitEventResponse:
        event = await self._writer.write(validation.submit_operation(request, context.idempotency_keys))
        decided_at = _published_time(event.server_timestamp)
        return pb.SubmitEventResponse(
            sync_event_id=event.sync_event_id,
            mentor_id=event.mentor_id,
            event_type=event.event_type,  # type: ignore[arg-type]  # as above
            accepted=event.accepted,
            resulting_status=event.resulting_status,  # type: ignore[arg-type]  # as above
            server_timestamp=decided_at,
            created_at=decided_at,
        )

    async def update_event(self, request: pb.UpdateEventRequest, _context: CallContext) -> pb.UpdateEventResponse:
        event = await self._writer.write(validation.update_operation(request))
        return pb.UpdateEventResponse(
            sync_event_id=event.sync_event_id,
            acknowledged=event.acknowledged,
            reason=event.reason,
            updated_at=_published_time(event.updated_at),
        )

    async def delete_event(self, request: pb.DeleteEventRequest, _context: CallContext) -> pb.DeleteEventResponse:
        event = await self._writer.write(validation.delete_operation(request))
        # A deleted event's last change is its deletion.
        return pb.DeleteEventResponse(
            sync_event_id=event.sync_event_id, deleted=True, deleted_at=_published_time(event.updated_at)
        )


def _published_time(microseconds: int) -> Timestamp:
    # Whole seconds, as the contract shows them.
    return Timestamp(seconds=microseconds // 1_000_000)


def _sync_events(events: Sequence[PublishedEvent]) -> list[pb.SyncEvent]:
    return [
        pb.SyncEvent(
            sync_event_id=event.sync_event_id,
            mentor_id=event.mentor_id,
            event_type=event.event_type,  # type: ignore[arg-type]  # the stored numbers are the protobuf enum's
            resulting_status=event.resulting_status,  # type: ignore[arg-type]  # as above
            server_timestamp=_published_time(event.server_timestamp),
            acknowledged=bool(event.acknowledged),  # SQLite gives 0 and 1
        )
        for event in events
    ]
