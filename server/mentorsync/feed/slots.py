"""How many streams there may be."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from mentorsync.feed.subscriber import Subscriber

MAX_STREAMS = 10_000  # of one process: about 500 MB
PROBE_SECONDS = 0.3  # until streams whose receivers have gone have ended; usually it takes a few milliseconds
# Between two probes of one address: while streams end, and while all of them live. Each living one gets a heartbeat.
SHORT_PAUSE_SECONDS, LONG_PAUSE_SECONDS = 0.25, 10.0
# While the process has no slot left, so many streams are probed at a time, and then others: each of 10,000 every 10 s.
PROBED_STREAMS, PROBED_PAUSE_SECONDS = 50, 0.05


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
        self._streams = OrderedDict[Subscriber, None]()  # those that were not probed for the longest time come first
        self._probe_at = 0.0

    @property
    def used(self) -> int:
        return len(self._streams)

    @contextmanager
    def one(self, address: str, stream: Subscriber) -> Iterator[None]:
        """Occupies a slot. Raises TooManyStreamsError."""
        with self._lock:
            if self.used >= self._in_all:
                raise TooManyStreamsError("this process has the maximum number of streams")
            if self._is_full(address):
                raise TooManyStreamsError(f"this address has {self._of_one_address} streams, the maximum")
            self._addresses.setdefault(address, _Address()).streams.add(stream)
            self._streams[stream] = None
        try:
            yield
        finally:
            with self._lock:
                self._release(address, stream)

    def _release(self, address: str, stream: Subscriber) -> None:
        del self._streams[stream]
        own = self._addresses[address]
        own.streams.discard(stream)
        own.probe_at = min(own.probe_at, own.probed_at + SHORT_PAUSE_SECONDS)
        if not own.streams:
            del self._addresses[address]

    def is_probing(self, address: str) -> bool:
        """Whether an address has no slot left, but is being probed for streams whose receivers have gone.

        Begins that if it is due: each stream sends a heartbeat, and those that cannot will end. If the process has no
        slot left, some streams of all addresses are probed. Nobody waits for these: one that comes later has the slots.
        """
        now = time.monotonic()
        probed: tuple[Subscriber, ...] = ()
        is_probing = False
        with self._lock:
            if self._is_full(address):
                own = self._addresses[address]
                if now >= own.probe_at:
                    own.probed_at, own.probe_at = now, now + LONG_PAUSE_SECONDS
                    probed = tuple(own.streams)
                is_probing = now < own.probed_at + PROBE_SECONDS
            elif self.used >= self._in_all and now >= self._probe_at:
                self._probe_at = now + PROBED_PAUSE_SECONDS
                probed = tuple(islice(self._streams, PROBED_STREAMS))
                for stream in probed:
                    self._streams.move_to_end(stream)
        for stream in probed:
            stream.probe_soon()
        return is_probing

    def _is_full(self, address: str) -> bool:
        own = self._addresses.get(address)
        return own is not None and len(own.streams) >= self._of_one_address
