"""Receives server-sent events over many connections, in a process of its own, and reconnects as an EventSource does.

Run as a module. Arguments: the address, the number of streams, and the path with its query, in which {} stands for the
stream's number. Prints a line once all streams are current. Each line on standard input is answered by a line of JSON
with the figures since the line before.
"""

import json
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import NamedTuple

from tests.benchmarks.processes import python_module

CHANGE = re.compile(rb'"sync_event_id":"(\w+)"')
CURRENT = b"event: current\n"
RETRY = re.compile(rb"retry: (\d+)\n")
LAST_ID = re.compile(rb".*\nid: ([\w-]+)\n", re.DOTALL)
FIRST_RETRY_MILLISECONDS = 3_000  # of an EventSource that the server has told nothing yet
CHUNK_BYTES = 262_144
TICK_SECONDS = 0.005  # between two looks for streams that want to connect: receivers do not come in bursts
OPEN_AT_ONCE = 20  # so that the listener's queue of new connections does not overflow
RECEIPTS = 200_000  # kept between two reports


class Figures(NamedTuple):
    """changes, bytes: received. receipts: when each event came, in seconds since the Unix epoch. cpu: seconds, of this
    process. current: streams that are current now.
    """

    changes: int
    bytes: int
    cpu: float
    current: int
    receipts: dict[str, list[float]]


class Streams:
    """The process, seen from the benchmark."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_current(self) -> None:
        self._read()

    def figures(self) -> Figures:
        """What came since the last call, or since the start."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Figures(*json.loads(self._read()))

    def _read(self) -> bytes:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that receives the streams has ended")
        return line


@contextmanager
def streams(address: str, number: int, path: str) -> Iterator[Streams]:
    """All of them are current when the block begins."""
    command = python_module("tests.benchmarks.load.streams", address, str(number), path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            received = Streams(process)
            received.wait_until_current()
            yield received
        finally:
            process.kill()


class Stream:
    """One connection after the other."""

    __slots__ = ("connect_at", "connection", "is_current", "last_id", "path", "rest", "retry_milliseconds")

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection: socket.socket | None = None
        self.connect_at = 0.0
        self.is_current = False
        self.last_id = b""
        self.rest = b""  # the beginning of an event whose end has not come yet
        self.retry_milliseconds = FIRST_RETRY_MILLISECONDS

    def __lt__(self, other: "Stream") -> bool:
        return self.connect_at < other.connect_at

    def connect(self, address: tuple[str, int]) -> bool:
        connection = socket.socket()
        try:
            connection.connect(address)
            last = b"last-event-id: " + self.last_id + b"\r\n" if self.last_id else b""
            connection.sendall(f"GET {self.path} HTTP/1.1\r\nhost: test\r\n".encode() + last + b"\r\n")
        except OSError:
            connection.close()
            self._come_back_later()
            return False
        self.connection = connection
        self.rest = b""
        return True

    def close(self) -> None:
        assert self.connection
        self.connection.close()
        self.connection = None
        self.is_current = False
        self._come_back_later()

    def take(self, chunk: bytes) -> list[bytes]:
        """The ids of the changes that are complete now."""
        text = self.rest + chunk
        end = text.rfind(b"\n\n")
        self.rest = text[end:] if not text.endswith(b"\n\n\r\n") else b""
        changes = CHANGE.findall(text, 0, max(end, 0)) if self.is_current else []
        if b"retry: " in text or not changes:  # in the beginning, at the end, and in heartbeats
            self._take_rare(text)
        return changes

    def _take_rare(self, text: bytes) -> None:
        if retry := RETRY.search(text):
            self.retry_milliseconds = int(retry[1])
        if last := LAST_ID.match(text):
            self.last_id = last[1]
        if CURRENT in text:
            self.is_current = True

    def _come_back_later(self) -> None:
        self.connect_at = time.monotonic() + self.retry_milliseconds / 1_000 * random.uniform(0.9, 1.1)  # noqa: S311


class Receiver:
    """All streams of the process."""

    def __init__(self, address: str, number: int, path: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._poll = select.epoll()
        self._buffer = memoryview(bytearray(CHUNK_BYTES))  # `recv` would allocate one each time, which costs 20 µs
        self._waiting = [Stream(path.format(one)) for one in range(number)]  # a heap
        self._open: dict[int, Stream] = {}
        self._number = number
        self._connect_after = 0.0
        self._is_announced = False
        self._forget()

    def run(self) -> None:
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            if self._waiting and time.monotonic() >= self._connect_after:
                self._connect()
            for descriptor, _ in self._poll.poll(TICK_SECONDS if self._waiting else None):
                if descriptor == sys.stdin.fileno():
                    if not sys.stdin.readline():
                        return
                    self._report()
                else:
                    self._receive(descriptor)
            if not self._is_announced and self._current() == self._number:
                self._is_announced = True
                print("current", flush=True)

    def _connect(self) -> None:
        now = time.monotonic()
        self._connect_after = now + TICK_SECONDS
        for _ in range(OPEN_AT_ONCE):
            if not self._waiting or self._waiting[0].connect_at > now:
                return
            stream = heappop(self._waiting)
            if stream.connect(self._address):
                assert stream.connection
                self._open[stream.connection.fileno()] = stream
                self._poll.register(stream.connection.fileno(), select.EPOLLIN)
            else:
                heappush(self._waiting, stream)

    def _receive(self, descriptor: int) -> None:
        stream = self._open[descriptor]
        assert stream.connection
        try:
            size = stream.connection.recv_into(self._buffer)
        except OSError:
            size = 0
        if not size:
            self._poll.unregister(descriptor)
            del self._open[descriptor]
            stream.close()
            heappush(self._waiting, stream)
            return
        changes = stream.take(bytes(self._buffer[:size]))
        self._changes += len(changes)
        self._bytes += size
        if changes and self._changes < RECEIPTS:
            now = time.time()
            for change in changes:
                self._receipts[change.decode()].append(now)

    def _current(self) -> int:
        return sum(stream.is_current for stream in self._open.values())

    def _report(self) -> None:
        cpu = time.process_time() - self._cpu
        print(json.dumps(Figures(self._changes, self._bytes, cpu, self._current(), self._receipts)), flush=True)
        self._forget()

    def _forget(self) -> None:
        self._changes = 0
        self._bytes = 0
        self._cpu = time.process_time()
        self._receipts: defaultdict[str, list[float]] = defaultdict(list)


if __name__ == "__main__":
    address, number, path = sys.argv[1:]
    Receiver(address, int(number), path).run()
