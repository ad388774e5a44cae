"""The result of a load generator."""

from typing import NamedTuple


class LoadResult(NamedTuple):
    """requests: all answers. errors: those that were errors. seconds: duration of the load. p50, p99: microseconds.
    generator: CPU seconds of the load generator.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    generator: float
