"""Sends drawn bytes to the REST address, and checks that every error has the error shape."""

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

from mentorsync.time_limits import REQUEST_SECONDS

from tests.fuzz.drawing import draw_http_request, mutate
from tests.fuzz.findings import Findings, close

CALLERS = 16
BROKEN_SHARE = 0.1  # of the requests
FILLER = b"\r\n\r\n" + bytes(20_000)  # follows a broken request, whose end Envoy might wait for
ANSWER_SECONDS = REQUEST_SECONDS + 5  # an answer that takes longer will never come
SHAPE = {"code", "message", "details"}
NOT_IMPLEMENTED = 501  # for transfer codings that Envoy does not know


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes | None  # None: an answer to HEAD

    def fault(self) -> str | None:
        """Describes what is wrong with the answer, if anything is."""
        if self.status >= 500 and self.status != NOT_IMPLEMENTED:
            return f"status {self.status}: {self.body!r}"
        if self.status >= 400 and not self.is_error_in_shape():
            return f"status {self.status} without the error shape: {dict(self.headers)} {self.body!r}"
        return None

    def is_error_in_shape(self) -> bool:
        # The id may be empty: that of the caller is kept, and Envoy makes none before it has looked at the path.
        if self.headers.get("content-type") != "application/json" or "x-request-id" not in self.headers:
            return False
        if self.body is None:
            return True
        try:
            error = json.loads(self.body)
        except ValueError:
            return False
        return error.keys() == SHAPE and bool(error["message"])


async def fuzz_rest(url: str, requests: int, seed: int) -> Findings:
    """Sends this number of requests, over several connections at once."""
    findings = Findings()
    address = urlsplit(url)
    counts = [requests // CALLERS + (number < requests % CALLERS) for number in range(CALLERS)]
    async with asyncio.TaskGroup() as group:
        for number, count in enumerate(counts):
            caller = _Caller(str(address.hostname), address.port or 80, findings, Random(f"{seed}-{number}"))  # noqa: S311 - no secret
            group.create_task(caller.run(count))
    return findings


class _Caller:
    """Sends one request after the other, on one connection for as long as it lasts."""

    def __init__(self, host: str, port: int, findings: Findings, random: Random) -> None:
        self._address = (host, port)
        self._findings = findings
        self._random = random
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, count: int) -> None:
        try:
            for _ in range(count):
                request = draw_http_request(self._random)
                is_broken = self._random.random() < BROKEN_SHARE
                await self._send(mutate(self._random, request) + FILLER if is_broken else request, is_broken=is_broken)
        finally:
            await self._close()

    async def _send(self, request: bytes, *, is_broken: bool) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._exchange(request)
        except TimeoutError:
            self._findings.answers["no answer"] += 1
            self._findings.report(request, "no answer")
            await self._close()
            return
        except (OSError, asyncio.IncompleteReadError) as error:
            self._findings.answers["connection closed"] += 1
            await self._close()
            if not is_broken:
                self._findings.report(request, repr(error))
            return
        self._findings.answers[str(answer.status)] += 1
        if fault := answer.fault():
            self._findings.report(request, fault)
        if is_broken or answer.headers.get("connection") == "close":
            await self._close()

    async def _exchange(self, request: bytes) -> Answer:
        if self._connection is None:
            self._connection = await asyncio.open_connection(*self._address)
        reader, writer = self._connection
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        is_head = request.lstrip().startswith(b"HEAD ")
        body = None if is_head else await reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(head[0].split()[1]), headers, body)

    async def _close(self) -> None:
        if self._connection:
            await close(self._connection[1])
        self._connection = None
