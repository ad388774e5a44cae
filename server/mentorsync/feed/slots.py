"""How many streams there may be."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mentorsync.feed.subscriber import Subscriber

MAX_STREAMS = 10_000  # of one process: about 500 MB
PROBE_SECONDS = 0.3  # until streams whose receivers have gone have ended; usually it takes a few milliseconds
# Between two probes of one address: while streams end, and while all of them live. Each living one gets a heartbeat.
SHORT_PAUSE_SECONDS, LONG_PAUSE_SECONDS = 0.25, 10.0


class TooManyStreamsError(Exception):
    """The message says which limit is reached."""


class _Address:
    """The streams of one client address, and when they were last probed, in seconds of time.monotonic()."""

    __slots__ = ("probe_at", "probed_at", "streams")

    def __init__(self) -> None:
        self.streams: set[Subscriber] = set()
        self.probed_at = self.probe_at = 0.0


class Slots:
    """Counts streams, in all and for each client address. Used by several threads."""

    def __init__(self, of_one_address: int, in_all: int = MAX_STREAMS) -> None:
        self._of_one_address = of_one_address
        self._in_all = in_all
        self._lock = threading.Lock()
        self._addresses: dict[str, _Address] = {}
        self.used = 0

    @contextmanager
    def one(self, address: str, stream: Subscriber) -> Iterator[None]:
        """Occupies a slot. Raises TooManyStreamsError."""
        with self._lock:
            if self.used >= self._in_all:
                raise TooManyStreamsError("this process has the maximum number of streams")
            if self._is_full(address):
                raise TooManyStreamsError(f"this address has {self._of_one_address} streams, the maximum")
            self._addresses.setdefault(address, _Address()).streams.add(stream)
            self.used += 1
        try:
            yield
        finally:
            with self._lock:
                self._release(address, stream)

    def _release(self, address: str, stream: Subscriber) -> None:
        self.used -= 1
        own = self._addresses[address]
        own.streams.discard(stream)
        own.probe_at = min(own.probe_at, own.probed_at + SHORT_PAUSE_SECONDS)
        if not own.streams:
            del self._addresses[address]

    def is_probing(self, address: str) -> bool:
        """Whether an address has no slot left, but is being probed for streams whose receivers have gone.

        Begins that if it is due: each stream sends a heartbeat, and those that cannot will end.
        """
        now = time.monotonic()
        probed: tuple[Subscriber, ...] = ()
        with self._lock:
            if not self._is_full(address):
                return False
            own = self._addresses[address]
            if now >= own.probe_at:
                own.probed_at, own.probe_at = now, now + LONG_PAUSE_SECONDS
                probed = tuple(own.streams)
            is_probing = now < own.probed_at + PROBE_SECONDS
        for stream in probed:
            stream.probe_soon()
        return is_probing

    def _is_full(self, address: str) -> bool:
        own = self._addresses.get(address)
        return own is not None and len(own.streams) >= self._of_one_address
