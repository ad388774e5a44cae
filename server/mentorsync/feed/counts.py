"""What the streams of one event loop did. Plain numbers, because each is changed with every message."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mentorsync.feed.ends import End
from mentorsync.feed.resets import ResetReason


class Counts:
    """Read by the thread that serves the metrics, too."""

    def __init__(self) -> None:
        self.messages = 0
        self.deliveries = 0  # changes that were sent, one for each receiver
        self.bytes = 0
        self.resets = Counter[ResetReason]()
        self.ends = Counter[End]()
        self.catch_ups = 0  # running

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        self.catch_ups += 1
        try:
            yield
        finally:
            self.catch_ups -= 1
