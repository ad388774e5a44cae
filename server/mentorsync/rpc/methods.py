"""The table of the service's methods."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, NamedTuple

from google.protobuf.message import Message
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.rpc.calls import Calls
from mentorsync.rpc.context import CallContext


class Kind(Enum):
    """How many messages a method receives and sends. Each adapter has a handler for each kind that the table uses."""

    UNARY = "unary"  # one request, one response
    SERVER_STREAMING = "server streaming"  # one request, any number of responses


class Method(NamedTuple):
    name: str
    kind: Kind
    request_type: type[Message]
    call: Callable[[Any, CallContext], Awaitable[Message]]


def methods_of(calls: Calls) -> dict[str, Method]:
    """Every method by its name, as the service's descriptor declares them."""
    table = (
        Method("ListSyncEvents", Kind.UNARY, pb.ListSyncEventsRequest, calls.list_sync_events),
        Method("GetMentorStatus", Kind.UNARY, pb.GetMentorStatusRequest, calls.get_mentor_status),
        Method("SubmitEvent", Kind.UNARY, pb.SubmitEventRequest, calls.submit_event),
        Method("UpdateEvent", Kind.UNARY, pb.UpdateEventRequest, calls.update_event),
        Method("DeleteEvent", Kind.UNARY, pb.DeleteEventRequest, calls.delete_event),
    )
    return {method.name: method for method in table}
