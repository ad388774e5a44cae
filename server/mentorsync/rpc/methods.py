"""The table of the service's methods."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, NamedTuple

from google.protobuf.message import Message
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.rpc.calls import Calls


class Kind(Enum):
    """How many messages a method receives and sends. Each adapter has a handler for each kind that the table uses."""

    UNARY = "unary"  # one request, one response
    SERVER_STREAMING = "server streaming"  # one request, any number of responses


class Method(NamedTuple):
    """`call` gets the request and its context, and returns the response: a message, or its bytes.

    A streaming call also gets a function that sends an encoded response, and returns why the stream ended.
    """

    name: str
    kind: Kind
    request_type: type[Message]
    call: Callable[..., Awaitable[Any]]


def methods_of(calls: Calls) -> dict[str, Method]:
    """Every method by its name, as the service's descriptor declares them."""
    table = (
        Method("ListSyncEvents", Kind.UNARY, pb.ListSyncEventsRequest, calls.list_sync_events),
        Method("GetMentorStatus", Kind.UNARY, pb.GetMentorStatusRequest, calls.get_mentor_status),
        Method("SubmitEvent", Kind.UNARY, pb.SubmitEventRequest, calls.submit_event),
        Method("UpdateEvent", Kind.UNARY, pb.UpdateEventRequest, calls.update_event),
        Method("DeleteEvent", Kind.UNARY, pb.DeleteEventRequest, calls.delete_event),
        Method("WatchSyncEvents", Kind.SERVER_STREAMING, pb.WatchSyncEventsRequest, calls.watch_sync_events),
        Method("StreamSyncEvents", Kind.SERVER_STREAMING, pb.StreamSyncEventsRequest, calls.stream_sync_events),
    )
    return {method.name: method for method in table}
