"""Clients that leave in the middle: of the headers, of the body, or before the answer."""

import random
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from mentorsync.up import LIST_PATH

THREADS = 2
PAUSE_SECONDS = 0.01  # between two connections of one thread: about a hundred a second
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: closing sends RST
TIMEOUT_SECONDS = 5
BODY = b'{"event_type":"PauseMentorEvent","mentor_id":"mntr_rough","reason":"Gone in the middle"}'
HEADERS = (
    f"POST {LIST_PATH}/events HTTP/1.1\r\nhost: rough\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
).encode()
LEFT_AT = (len(HEADERS) // 2, len(HEADERS), len(HEADERS) + len(BODY) // 2, len(HEADERS) + len(BODY))


class RoughClients:
    """Running while entered. broken: how many connections were left so far."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._stop = threading.Event()
        self._counts = [0] * THREADS
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    @property
    def broken(self) -> int:
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
        choice = random.Random(number)  # noqa: S311 - no secret
        while not self._stop.wait(PAUSE_SECONDS):
            self._leave(choice.choice(LEFT_AT), resets=choice.random() < 0.5)
            self._counts[number] += 1

    def _leave(self, sent_bytes: int, *, resets: bool) -> None:
        with socket.create_connection(self._address, TIMEOUT_SECONDS) as connection:
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.sendall((HEADERS + BODY)[:sent_bytes])
