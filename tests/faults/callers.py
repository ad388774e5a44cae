"""Callers that never stop: each sends its next request as soon as it has an answer, on a connection that it keeps."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from tests.contract import BASE

SUBMIT = b'{"event_type": "PauseMentorEvent", "mentor_id": "mntr_01HX4V2K8P"}'


@dataclass
class Callers:
    """What the callers of one address saw. `closed` counts answers with `connection: close`."""

    host: str
    port: int
    answers: int = 0
    closed: int = 0
    statuses: Counter[bytes] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, url: str) -> Self:
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        return cls(address.hostname, address.port)

    async def call_until_refused(self, request: bytes) -> None:
        """One caller: connects again after `connection: close`, and ends when it can connect no more."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                return
            try:
                await self._exchange(reader, writer, request)
            finally:
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        """Sends requests on one connection until an answer closes it.

        A connection that the kernel resets before its first answer was not accepted yet: its request was not taken.
        """
        answers = 0
        while True:
            try:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
            except ConnectionResetError:
                if answers:
                    self.unanswered.append(f"reset after {answers} answers")
                return
            except (OSError, asyncio.IncompleteReadError) as error:
                self.unanswered.append(f"{error!r} after {answers} answers")
                return
            answers += 1
            self.answers += 1
            self.statuses[head.split()[1]] += 1
            if b"connection: close" in head:
                self.closed += 1
                return


def snapshot() -> bytes:
    """A request that takes about a millisecond."""
    return f"GET {BASE}/mntr_01HX4V2K8P HTTP/1.1\r\nhost: caller\r\n\r\n".encode()


def submit() -> bytes:
    """A request that waits for the database."""
    head = f"POST {BASE}/events HTTP/1.1\r\nhost: caller\r\ncontent-length: {len(SUBMIT)}\r\n\r\n"
    return head.encode() + SUBMIT
