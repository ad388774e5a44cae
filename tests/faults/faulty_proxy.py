"""A network between service and PostgreSQL that delays data, cuts connections in the middle of it, and loses it."""

import itertools
import socket
import threading
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from random import Random

from tests.storage.proxy import CHUNK_BYTES, Proxy, close

FAULT_SHARE = 0.02  # of the chunks of data, in either direction
MOST_DELAY_SECONDS = 0.5


class Fault(StrEnum):
    """delay: the data comes late. cut: the connection breaks within the data. loss: only a part of it ever comes.

    After a loss the connection stays open and silent in that direction.
    """

    DELAY = "delay"
    CUT = "cut"
    LOSS = "loss"


WEIGHTS = {Fault.DELAY: 10, Fault.CUT: 5, Fault.LOSS: 1}  # a loss holds up its connection for 6 s


class FaultyProxy(Proxy):
    """Causes faults between `start` and `stop`, as the seed draws them, and counts them in `faults`."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(url)
        self.faults: Counter[Fault] = Counter()
        self._seed = seed
        self._numbers = itertools.count()
        self._is_faulty = False
        self._is_over = threading.Event()

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        super().__exit__(*error)

    def start(self) -> None:
        self._is_faulty = True

    def stop(self) -> None:
        self._is_faulty = False

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        self._copy_with_faults(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        self._copy_with_faults(server, client)

    def _copy_with_faults(self, source: socket.socket, target: socket.socket) -> None:
        random = Random(f"{self._seed} {next(self._numbers)}")  # noqa: S311 - no secret
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                fault = self._draw(random)
                if fault is Fault.DELAY:
                    self._is_over.wait(random.random() * MOST_DELAY_SECONDS)
                elif fault is not None:
                    target.sendall(chunk[: random.randrange(len(chunk))])
                    if fault is Fault.LOSS:
                        _read_to_the_end(source)
                    break
                target.sendall(chunk)
        close(source)
        close(target)

    def _draw(self, random: Random) -> Fault | None:
        if not self._is_faulty or random.random() > FAULT_SHARE:
            return None
        (fault,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        self.faults[fault] += 1
        return fault


def _read_to_the_end(source: socket.socket) -> None:
    while source.recv(CHUNK_BYTES):
        pass
