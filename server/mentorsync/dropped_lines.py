"""The number of log lines that the supervisor dropped, shared with the service, which exports it as a metric."""

import os
import struct
import threading
from typing import Self

VARIABLE = "MENTORSYNC_DROPPED_LINES_DESCRIPTOR"  # set for the process that exports the metric
COUNT = struct.Struct("=q")


class DroppedLines:
    """A counter in memory that a child process inherits by its descriptor. One process counts; any process may read."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._count = 0
        self._lock = threading.Lock()

    @classmethod
    def create(cls) -> Self:
        """Raises OSError when the system refuses another descriptor."""
        counter = cls(os.memfd_create("mentorsync-dropped-lines"))
        counter.add(0)
        return counter

    def add(self, lines: int) -> None:
        with self._lock:
            self._count += lines
            os.pwrite(self.descriptor, COUNT.pack(self._count), 0)

    def read(self) -> int:
        (count,) = COUNT.unpack(os.pread(self.descriptor, COUNT.size, 0))
        return int(count)


def dropped_by_supervisor() -> int:
    """The number of lines that the supervisor of this process dropped; 0 if there is no supervisor."""
    descriptor = os.environ.get(VARIABLE)
    return DroppedLines(int(descriptor)).read() if descriptor else 0
