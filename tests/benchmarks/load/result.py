"""What a load generator reports."""

from typing import NamedTuple


class LoadResult(NamedTuple):
    """Answered requests, errors among them, and how long they took. p50, p99: microseconds; generator: CPU seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    generator: float
