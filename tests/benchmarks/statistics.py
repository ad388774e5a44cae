"""Statistics of repeated measurements: medians with quartiles, and ratios within each round."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Summary(NamedTuple):
    """Median and quartiles, in the unit of the values."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)


def ratios(values: Mapping[int, float], base: Mapping[int, float]) -> list[float]:
    """Each round's value divided by the same round's base. A slow round does not change the ratio."""
    return [values[number] / base[number] for number in sorted(values.keys() & base.keys()) if base[number]]


def percentile(values: Sequence[float], percent: float) -> float:
    """A measured value that at least `percent` of the values do not exceed, or nan if there are no values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
