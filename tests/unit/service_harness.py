"""A service without storage and without a transport."""

import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from google.rpc import status_pb2
from mentorsync.logs import LineWriter
from mentorsync.metrics import Metrics
from mentorsync.rpc.context import CallContext
from mentorsync.rpc.service import Service

CONTEXT = CallContext("request-1", [])


class Harness:
    """A service whose methods all run the coroutine function that the test gives. `options` are those of Service."""

    def __init__(self, call: Any, make: Callable[..., Service] = Service, **options: bool) -> None:
        self._stream = io.StringIO()
        self._writer = LineWriter(self._stream)
        self.metrics = Metrics()
        methods = "list_sync_events get_mentor_status submit_event update_event delete_event"
        streams = "watch_sync_events stream_sync_events"
        names = f"{methods} {streams}".split()
        calls: Any = SimpleNamespace(**dict.fromkeys(names, call))
        self.service = make(calls, self.metrics, self._writer, **options)

    async def get(self, payload: bytes = b"", context: CallContext = CONTEXT) -> bytes | status_pb2.Status:
        return await self.service.invoke(self.service.methods["GetMentorStatus"], payload, context)

    def calls_counted(self, code: str) -> float | None:
        labels = {"method": "GetMentorStatus", "code": code}
        return self.metrics.registry.get_sample_value("mentorsync_call_duration_seconds_count", labels)

    def log_lines(self) -> list[dict[str, Any]]:
        self._writer.close()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]
