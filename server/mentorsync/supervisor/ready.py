"""Finds out whether the service answers calls through the gateway."""

import asyncio
import ssl
from http import HTTPStatus
from typing import NamedTuple

from mentorsync.kinds import Address
from mentorsync.supervisor.part import PartError
from mentorsync.time_limits import READY_SECONDS

POLL_SECONDS = 0.02


class Probe(NamedTuple):
    """How the gateway is asked. Lines about requests with the id are not logged."""

    request_id: str
    is_secure: bool
    needs_token: bool


async def wait_until_ready(rest: Address, list_path: str, probe: Probe) -> None:
    """Returns once the service is healthy and the gateway answers calls. Raises PartError.

    A call must succeed. Where it needs a token, of which this process has none, it must be refused for that reason.
    """
    expected = HTTPStatus.UNAUTHORIZED if probe.needs_token else HTTPStatus.OK
    try:
        async with asyncio.timeout(READY_SECONDS):
            for path, status in (("/healthz", HTTPStatus.OK), (f"{list_path}?limit=1", expected)):
                while not await _answers(rest, path, status, probe):
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise PartError(f"the gateway at {rest} did not answer within {READY_SECONDS:g} s") from error


async def _answers(rest: Address, path: str, status: HTTPStatus, probe: Probe) -> bool:
    """Whether GET answers with a status."""
    try:
        reader, writer = await asyncio.open_connection(*rest, ssl=_unverified() if probe.is_secure else None)
        try:
            headers = f"host: {rest}\r\nx-request-id: {probe.request_id}\r\nconnection: close\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
            status_line = await reader.readline()  # not all: Envoy may close the connection a second later
        finally:
            writer.close()
    except OSError:
        return False
    return status_line.startswith(f"HTTP/1.1 {status} ".encode())


def _unverified() -> ssl.SSLContext:
    """Accepts any certificate: it names the public host, not this address. The request holds nothing secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
