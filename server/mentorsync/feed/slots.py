"""How many streams there may be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mentorsync.feed.subscriber import Subscriber

MAX_STREAMS = 10_000  # of one process: about 500 MB


class TooManyStreamsError(Exception):
    """The message says which limit is reached."""


class Slots:
    """Counts streams, in all and for each client address. Used by several threads."""

    def __init__(self, of_one_address: int, in_all: int = MAX_STREAMS) -> None:
        self._of_one_address = of_one_address
        self._in_all = in_all
        self._lock = threading.Lock()
        self._of_address: dict[str, set[Subscriber]] = {}
        self.used = 0

    @contextmanager
    def one(self, address: str, subscriber: Subscriber) -> Iterator[None]:
        """Occupies a slot. Raises TooManyStreamsError."""
        with self._lock:
            self._check(address)
            self._of_address.setdefault(address, set()).add(subscriber)
            self.used += 1
        try:
            yield
        finally:
            with self._lock:
                self.used -= 1
                self._of_address[address].discard(subscriber)
                if not self._of_address[address]:
                    del self._of_address[address]

    def all_of(self, address: str) -> tuple[Subscriber, ...]:
        """The streams of an address that has no slot left. Empty if it has one."""
        with self._lock:
            streams = self._of_address.get(address, ())
            return tuple(streams) if len(streams) >= self._of_one_address else ()

    def _check(self, address: str) -> None:
        if self.used >= self._in_all:
            raise TooManyStreamsError("this process has as many streams as it can serve")
        if len(self._of_address.get(address, ())) >= self._of_one_address:
            raise TooManyStreamsError(f"this address has {self._of_one_address} streams, as many as are allowed")
