"""Clients that disconnect in the middle of the headers, in the middle of the body, or before the answer."""

import random
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.contract import BASE

THREADS = 2
PAUSE_SECONDS = 0.01  # between two connections of one thread: about 100 connections per second
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close() sends RST
TIMEOUT_SECONDS = 5
BODY = b'{"event_type":"PauseMentorEvent","mentor_id":"mntr_disconnect","reason":"Client is gone"}'
HEADERS = (
    f"POST {BASE}/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
).encode()
# The numbers of bytes after which a client disconnects.
DISCONNECT_AFTER = (len(HEADERS) // 2, len(HEADERS), len(HEADERS) + len(BODY) // 2, len(HEADERS) + len(BODY))


class DisconnectingClients:
    """A context manager: the clients run inside the block. closed: the number of connections closed so far."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._stop = threading.Event()
        self._counts = [0] * THREADS
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    @property
    def closed(self) -> int:
        return sum(self._counts)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        choice = random.Random(number)  # noqa: S311 - not used for secrets
        while not self._stop.wait(PAUSE_SECONDS):
            self._send_and_close(choice.choice(DISCONNECT_AFTER), with_reset=choice.random() < 0.5)
            self._counts[number] += 1

    def _send_and_close(self, sent_bytes: int, *, with_reset: bool) -> None:
        with socket.create_connection(self._address, TIMEOUT_SECONDS) as connection:
            if with_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.sendall((HEADERS + BODY)[:sent_bytes])
