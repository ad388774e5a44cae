"""The service without a transport: it takes bytes, returns bytes or a status, and logs and measures each call."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from google.rpc import code_pb2, status_pb2
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorsync.logs import LineWriter, timestamp
from mentorsync.metrics import Metrics
from mentorsync.rpc.calls import Calls
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.errors import is_expected, status_of
from mentorsync.rpc.methods import Method, methods_of
from mentorsync.rpc.principal import Group, TokenRequiredError

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["MentorStatusSync"].full_name
CODE_NAMES = {number: name for name, number in code_pb2.Code.items()}

logger = logging.getLogger(__name__)


class CallLine(NamedTuple):
    """The log line of a call, or of an event in its life. Made into text by the log's thread.

    time: seconds since the Unix epoch. seconds: the duration.
    """

    time: float
    event: str
    method: str
    request_id: str
    code: str | None = None
    reason: str | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        code = "" if self.code is None else f',"code":"{self.code}"'
        reason = "" if self.reason is None else f',"reason":{json.dumps(self.reason)}'
        duration = "" if self.seconds is None else f',"duration_ms":{self.seconds * 1000:.3f}'
        return (
            f'{{"time":"{timestamp(self.time)}","level":"info","logger":"calls","event":"{self.event}",'
            f'"method":"{self.method}"{code}{reason}{duration},"request_id":{json.dumps(self.request_id)}}}'
        )


class Service:
    """MentorStatusSync, for any number of event loops and threads: it does not change after its construction, and
    `Calls`, `Metrics` and `LineWriter` may be used by several threads at once.

    `methods` holds the methods by name. An adapter refuses an unknown name itself, before `invoke`. `log` gets the
    lines of streams and of undelivered answers, and with `logs_calls` one line of each unary call. With
    `requires_token`, calls without a token are refused.
    """

    def __init__(
        self,
        calls: Calls,
        metrics: Metrics,
        log: LineWriter | None,
        *,
        logs_calls: bool = True,
        requires_token: bool = False,
    ) -> None:
        self.methods = methods_of(calls)
        self._requires_token = requires_token
        self._metrics = metrics
        self._log = log
        self._call_log = log if logs_calls else None
        self._streams: set[asyncio.Task[Any] | None] = set()  # the host keeps no reference to a task that waits

    async def invoke(self, method: Method, payload: bytes, context: CallContext) -> bytes | status_pb2.Status:
        """The encoded response, or a status for every failure. Raises asyncio.CancelledError only."""
        started = time.perf_counter()
        code = code_pb2.CANCELLED
        try:
            self._check_token(context)
            response = await method.call(method.request_type.FromString(payload), context)
            code = code_pb2.OK
            return response if isinstance(response, bytes) else response.SerializeToString()
        except asyncio.CancelledError:
            code = code_of_cancellation(context)
            raise
        except Exception as error:  # noqa: BLE001 - a caller gets a status for every failure
            status = _status_of_failure(error, method, context)
            code = status.code
            return status
        finally:
            self._observe(method.name, code, time.perf_counter() - started, context.request_id)

    async def stream(
        self, method: Method, payload: bytes, context: CallContext, send: Callable[[bytes], Awaitable[None]]
    ) -> status_pb2.Status | None:
        """Sends encoded responses until the stream ends. Returns a status for every failure.

        Raises asyncio.CancelledError only. A failure after the first response is logged and reported as INTERNAL.
        """
        task = asyncio.current_task()
        self._streams.add(task)
        started = time.perf_counter()
        self._write(CallLine(time.time(), "stream began", method.name, context.request_id))
        code, reason = code_pb2.CANCELLED, "it was cut off"
        try:
            self._check_token(context)
            reason = await method.call(method.request_type.FromString(payload), context, send)
            code = code_pb2.OK
        except Exception as error:  # noqa: BLE001 - a caller gets a status for every failure
            status = _status_of_failure(error, method, context)
            code, reason = status.code, status.message
            return status
        else:
            return None
        finally:
            self._streams.discard(task)
            seconds = time.perf_counter() - started
            end = (CODE_NAMES[code], reason, seconds)
            self._write(CallLine(time.time(), "stream ended", method.name, context.request_id, *end))

    def log_undelivered(self, method: Method, request_id: str) -> None:
        """Logs that a unary call succeeded after its caller had disconnected. The gateway knows only that it had."""
        self._write(CallLine(time.time(), "caller disconnected", method.name, request_id, CODE_NAMES[code_pb2.OK]))

    def _check_token(self, context: CallContext) -> None:
        if self._requires_token and context.principal is Group.ANYONE:
            raise TokenRequiredError

    def _write(self, line: CallLine) -> None:
        if self._log:
            self._log.write(line)

    def _observe(self, name: str, code: int, seconds: float, request_id: str) -> None:
        code_name = CODE_NAMES[code]
        self._metrics.observe_call(name, code_name, seconds)
        if self._call_log:
            self._call_log.write(CallLine(time.time(), "call", name, request_id, code_name, None, seconds))


def _status_of_failure(error: Exception, method: Method, context: CallContext) -> status_pb2.Status:
    """Logs the failure if it was not foreseen."""
    if not is_expected(error):
        logger.error("%s failed", method.name, exc_info=error, extra={"request_id": context.request_id})
    return status_of(error)


def code_of_cancellation(context: CallContext) -> int:
    is_late = context.deadline is not None and time.monotonic() >= context.deadline
    code: int = code_pb2.DEADLINE_EXCEEDED if is_late else code_pb2.CANCELLED
    return code
