"""Sends requests at a fixed rate, in a process of its own, whether or not earlier ones were answered.

Run as a module. Arguments: the address, requests a second, seconds, and the kind: a key of REQUESTS. Prints a
LoadResult as JSON. Latencies count from the moment at which a request was due.
"""

import asyncio
import json
import subprocess
import sys
import time

import uvloop

from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.processes import python_module
from tests.benchmarks.statistics import percentile
from tests.contract import BASE

CONNECTIONS = 64  # at most so many requests are in flight
MENTORS = 10_000
PACED_MENTOR = "mntr_paced"  # with a number: whom the writes change, one after the other
OWN_MENTOR = "mntr_own"  # whose stream is measured while others write


def _submit(mentor_id: str) -> bytes:
    body = f'{{"event_type":"PauseMentorEvent","mentor_id":"{mentor_id}"}}'
    head = f"POST {BASE}/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


REQUESTS = {
    "submit": lambda number: _submit(f"{PACED_MENTOR}{number % MENTORS}"),
    "own submit": lambda _number: _submit(OWN_MENTOR),
    "snapshot": lambda _number: f"GET {BASE}/{OWN_MENTOR} HTTP/1.1\r\nhost: test\r\n\r\n".encode(),
}
Process = subprocess.Popen[bytes]


def start_paced(address: str, kind: str, rate: float, seconds: float) -> Process:
    command = python_module("tests.benchmarks.load.paced", address, str(rate), str(seconds), kind)
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def result_of(process: Process) -> LoadResult:
    output, _ = process.communicate()
    return LoadResult(*json.loads(output))


def run_paced(address: str, kind: str, rate: float, seconds: float) -> LoadResult:
    return result_of(start_paced(address, kind, rate, seconds))


class Load:
    """Each connection takes the next request that is due."""

    def __init__(self, address: str, rate: float, seconds: float, kind: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._rate = rate
        self._total = int(rate * seconds)
        self._make = REQUESTS[kind]
        self._next = 0
        self._durations: list[float] = []
        self._errors = 0

    async def run(self) -> LoadResult:
        self._started = time.perf_counter()
        connections = min(CONNECTIONS, self._total)
        await asyncio.gather(*(self._send_on_one_connection() for _ in range(connections)))
        seconds = time.perf_counter() - self._started
        p50, p99 = (percentile(self._durations, percent) for percent in (50, 99))
        return LoadResult(len(self._durations), seconds, p50, p99, self._errors, time.process_time())

    async def _send_on_one_connection(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        while self._next < self._total:
            number = self._next
            self._next += 1
            due = self._started + number / self._rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            writer.write(self._make(number))
            self._errors += await _answer_is_error(reader)
            self._durations.append((time.perf_counter() - due) * 1e6)
        writer.close()


async def _answer_is_error(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    await reader.readexactly(int(length))
    return not head.startswith(b"HTTP/1.1 2")


if __name__ == "__main__":
    address, rate, seconds, kind = sys.argv[1:]
    print(json.dumps(uvloop.run(Load(address, float(rate), float(seconds), kind).run())))
