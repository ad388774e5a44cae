"""Finds out whether the service answers calls through the gateway."""

import asyncio
from http import HTTPStatus

from mentorsync.config import Address
from mentorsync.supervisor.part import PartError
from mentorsync.time_limits import READY_SECONDS

POLL_SECONDS = 0.02


async def wait_until_ready(rest: Address, list_path: str, request_id: str) -> None:
    """Returns once the service is healthy and a call through the gateway succeeds. Raises PartError."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            for path in ("/healthz", f"{list_path}?limit=1"):
                while not await _is_ok(rest, path, request_id):
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise PartError(f"the gateway at {rest} did not answer within {READY_SECONDS:g} s") from error


async def _is_ok(rest: Address, path: str, request_id: str) -> bool:
    """Whether GET answers 200."""
    try:
        reader, writer = await asyncio.open_connection(*rest)
        try:
            headers = f"host: {rest}\r\nx-request-id: {request_id}\r\nconnection: close\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
            status_line = await reader.readline()  # not all: Envoy may close the connection a second later
        finally:
            writer.close()
    except OSError:
        return False
    return status_line.startswith(f"HTTP/1.1 {HTTPStatus.OK} ".encode())
