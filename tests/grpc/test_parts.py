"""The death of a part of a real server: it is logged, and the process ends, so that it can be started again."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests import dying_parts
from tests.grpc_client import CALL_SECONDS, SERVICE, Connect
from tests.server_process import Database, ServerProcess


async def statuses(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async for change in stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CALL_SECONDS):
        yield change.status


@pytest.mark.parametrize("part", dying_parts.METHODS)
async def test_a_server_whose_part_dies_ends(connect: Connect, database: Database, tmp_path: Path, part: str) -> None:
    """It first reports NOT_SERVING, and its status is 1. The log has the exception with its traceback."""
    trigger = tmp_path / "trigger"
    variables = {"MENTORSYNC_TEST_PART": part, "MENTORSYNC_TEST_TRIGGER": str(trigger)}
    server = ServerProcess(database, tmp_path / "server.log", [sys.executable, dying_parts.__file__], variables)
    try:
        async with connect(server.grpc) as channel:
            changes = statuses(channel)
            assert await anext(changes) == health_pb2.HealthCheckResponse.SERVING
            trigger.touch()
            assert await anext(changes) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await asyncio.to_thread(server.end) == 1
    finally:
        server.kill()
    (line,) = [line for line in server.log_lines() if line.get("event", "").startswith(f"the {part} ended")]
    assert line["level"] == "critical"
    assert "DeathError" in line["traceback"]
    assert "killed by the test" in line["traceback"]
