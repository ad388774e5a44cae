"""The service as transports see it: bytes in, bytes or a status out, logged and measured once."""

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.logs import LineWriter, timestamp
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import CallContext, Calls
from mentorsync.rpc.errors import is_expected, status_of

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["MentorStatusSync"].full_name
CODE_NAMES = {number: name for name, number in code_pb2.Code.items()}
REQUEST_ID = re.compile(r"[!-~]{1,128}")  # what is taken over from a caller: visible, and short enough to log

logger = logging.getLogger(__name__)


class CallLine(NamedTuple):
    """A call as the log shows it. ended: seconds since the Unix epoch."""

    ended: float
    method: str
    code: str
    seconds: float
    request_id: str

    def __str__(self) -> str:
        return (
            f'{{"time":"{timestamp(self.ended)}","level":"info","event":"call","method":"{self.method}",'
            f'"code":"{self.code}","duration_ms":{self.seconds * 1000:.3f},"request_id":{json.dumps(self.request_id)}}}'
        )


class Method(NamedTuple):
    request_type: type[Message]
    call: Callable[[Any, CallContext], Awaitable[Message]]


def accepted_request_id(value: str | None) -> str:
    """The caller's request id where it is fit for a log line, else a new one."""
    if value is not None and REQUEST_ID.fullmatch(value):
        return value
    return secrets.token_hex(16)


class Service:
    """The methods of MentorStatusSync by name. `invoke` answers every failure with a status and raises nothing, except
    that a cancelled call stays cancelled.
    """

    def __init__(self, calls: Calls, metrics: Metrics, call_log: LineWriter | None) -> None:
        self.methods: Mapping[str, Method] = {
            "ListSyncEvents": Method(pb.ListSyncEventsRequest, calls.list_sync_events),
            "GetMentorStatus": Method(pb.GetMentorStatusRequest, calls.get_mentor_status),
            "SubmitEvent": Method(pb.SubmitEventRequest, calls.submit_event),
            "UpdateEvent": Method(pb.UpdateEventRequest, calls.update_event),
            "DeleteEvent": Method(pb.DeleteEventRequest, calls.delete_event),
        }
        self._metrics = metrics
        self._call_log = call_log

    async def invoke(self, name: str, payload: bytes, context: CallContext) -> bytes | status_pb2.Status:
        started = time.perf_counter()
        code = code_pb2.CANCELLED
        try:
            method = self.methods[name]
            response = await method.call(method.request_type.FromString(payload), context)
            code = code_pb2.OK
            return response.SerializeToString()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not is_expected(error):
                logger.exception("%s failed", name, extra={"request_id": context.request_id})
            status = status_of(error)
            code = status.code
            return status
        finally:
            self._observe(name, code, time.perf_counter() - started, context.request_id)

    def _observe(self, name: str, code: int, seconds: float, request_id: str) -> None:
        code_name = CODE_NAMES[code]
        self._metrics.observe_call(name, code_name, seconds)
        if self._call_log:
            self._call_log.write(CallLine(time.time(), name, code_name, seconds, request_id))
