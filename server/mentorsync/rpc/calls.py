"""The calls: request message in, response out. Responses that hold many events are encoded already."""

import time

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.feed.feed import Feed
from mentorsync.feed.formats import Format, Messages, ServerSentEvents
from mentorsync.feed.request import FeedRequest
from mentorsync.feed.subscriber import Send
from mentorsync.published import encoded_page, encoded_snapshot, published_seconds
from mentorsync.rpc import validation
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.principal import confined, only_mentor
from mentorsync.storage.reader import Reader
from mentorsync.storage.writer import Writer

MESSAGES, SERVER_SENT_EVENTS = Messages(), ServerSentEvents()


class Calls:
    """Each method validates the request, calls storage, and converts the result.

    The methods raise InvalidFieldsError, NotYourMentorError, DomainError and StorageError, which `rpc.errors` maps to
    statuses.
    """

    def __init__(self, reader: Reader, writer: Writer, feed: Feed) -> None:
        self._reader = reader
        self._writer = writer
        self._feed = feed

    async def list_sync_events(self, request: pb.ListSyncEventsRequest, context: CallContext) -> bytes:
        page, limit, mentor_id = validation.page_query(request)
        mentor_ids = confined(context.principal, () if mentor_id is None else (mentor_id,))
        result = await self._reader.page(page, limit, mentor_ids[0] if mentor_ids else None)
        return encoded_page(page, limit, result)

    async def get_mentor_status(self, request: pb.GetMentorStatusRequest, context: CallContext) -> bytes:
        (mentor_id,) = confined(context.principal, (validation.mentor_id_of(request),))
        return encoded_snapshot(await self._reader.snapshot(mentor_id))

    async def submit_event(self, request: pb.SubmitEventRequest, context: CallContext) -> pb.SubmitEventResponse:
        operation = validation.submit_operation(request, context.idempotency_keys)
        confined(context.principal, (operation.mentor_id,))
        event = await self._writer.write(operation)
        response = pb.SubmitEventResponse(
            sync_event_id=event.sync_event_id,
            mentor_id=event.mentor_id,
            event_type=event.event_type,  # type: ignore[arg-type]  # the domain's numbers are the protobuf enum's
            accepted=event.accepted,
            resulting_status=event.resulting_status,  # type: ignore[arg-type]  # as above
        )
        response.server_timestamp.seconds = response.created_at.seconds = published_seconds(event.server_timestamp)
        return response

    async def update_event(self, request: pb.UpdateEventRequest, context: CallContext) -> pb.UpdateEventResponse:
        event = await self._writer.write(validation.update_operation(request, only_mentor(context.principal)))
        response = pb.UpdateEventResponse(
            sync_event_id=event.sync_event_id, acknowledged=event.acknowledged, reason=event.reason
        )
        response.updated_at.seconds = published_seconds(event.updated_at)
        return response

    async def delete_event(self, request: pb.DeleteEventRequest, context: CallContext) -> pb.DeleteEventResponse:
        event = await self._writer.write(validation.delete_operation(request, only_mentor(context.principal)))
        response = pb.DeleteEventResponse(sync_event_id=event.sync_event_id, deleted=True)
        response.deleted_at.seconds = published_seconds(
            event.updated_at
        )  # the last change of a deleted event is its deletion
        return response

    async def watch_sync_events(self, request: pb.WatchSyncEventsRequest, context: CallContext, send: Send) -> str:
        return await self._stream(validation.feed_request(request, None), MESSAGES, context, send)

    async def stream_sync_events(self, request: pb.StreamSyncEventsRequest, context: CallContext, send: Send) -> str:
        asked = validation.feed_request(request, context.last_event_id)
        return await self._stream(asked, SERVER_SENT_EVENTS, context, send)

    async def _stream(self, request: FeedRequest, made: Format, context: CallContext, send: Send) -> str:
        """Returns why the stream ended."""
        request = request._replace(mentor_ids=frozenset(confined(context.principal, sorted(request.mentor_ids))))
        if context.deadline is not None:
            request = request._replace(seconds=min(request.seconds, context.deadline - time.monotonic()))
        end = await self._feed.stream(request, made, context.client_address, send)
        return end.value
