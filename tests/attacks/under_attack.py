"""An attack as a process of its own, and a well-behaved client whose calls must succeed meanwhile."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.benchmarks.processes import Footprint
from tests.contract import BASE

MENTOR = "mntr_calm"
EVENTS = 200  # stored before the attacks: two full pages
REASON = "x" * 400  # makes an event, and so the pages that attackers ask for, about as large as they get
CALL_SECONDS = 12  # a call takes longer only if the service hangs: its own time limits are shorter
PAUSE_SECONDS = 0.01  # between two calls: a client that behaves well is not a flood itself
MEGABYTE = 1_000_000


class Call(NamedTuple):
    method: str
    path: str
    body: bytes | None = None


SUBMIT = json.dumps({"event_type": "PauseMentorEvent", "mentor_id": MENTOR, "reason": REASON}).encode()
CALLS = (Call("POST", f"{BASE}/events", SUBMIT), Call("GET", f"{BASE}/{MENTOR}"), Call("GET", BASE))


class Client:
    """Calls one after the other. Half of them are made on one connection, and half on a new one each.

    `seconds` has the time of each call. `failures` has the calls that were not answered with 200.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._kept = self._connect()
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def fill(self) -> None:
        """Stores the events that make pages long."""
        for _ in range(EVENTS):
            self._call(self._kept, CALLS[0])

    def call(self, count: int) -> None:
        for call in islice(cycle(CALLS), count):
            self._call(self._kept, call)
            new = self._connect()
            self._call(new, call)
            new.close()
            time.sleep(PAUSE_SECONDS)

    def call_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.call(len(CALLS))

    def close(self) -> None:
        self._kept.close()

    def _call(self, connection: http.client.HTTPConnection, call: Call) -> None:
        started = time.monotonic()
        try:
            connection.request(call.method, call.path, call.body)
            response = connection.getresponse()
            response.read()
            if response.status != http.client.OK:
                self.failures.append(f"{call.method}: {response.status}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.failures.append(f"{call.method}: {error!r}")
        self.seconds.append(time.monotonic() - started)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=CALL_SECONDS)


@contextmanager
def attacked(url: str, name: str, connections: int) -> Iterator[None]:
    """An attack that runs during the block, and has opened all its connections before it."""
    address = urlsplit(url)
    arguments = [name, str(address.hostname), str(address.port), str(connections)]
    command = [sys.executable, "-m", "tests.attacks.attacker", *arguments]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as attacker:
        try:
            assert attacker.stdout
            assert attacker.stdout.readline() == "attacking\n"
            yield
        finally:
            attacker.kill()


def megabytes(pids: Sequence[int]) -> float:
    """The memory of processes and their children."""
    return Footprint.of(pids).memory / MEGABYTE
