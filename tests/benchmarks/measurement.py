"""One measurement: what one variant did under one load in one round."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from tests.benchmarks.cells import Cell


class Measurement(NamedTuple):
    """throughput: requests per second. p50, p99: microseconds. cpu: microseconds per request, by process. fault: what
    the verification found wrong, or "".
    """

    variant: str
    cell: Cell
    round: int
    throughput: float
    p50: float
    p99: float
    cpu: Mapping[str, float]
    fault: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**value | {"cell": Cell(*value["cell"])})


def by_round(measurements: Iterable[Measurement], variant: str, cell: Cell, metric: str) -> dict[int, float]:
    """One metric (a field's name) of a variant under a load, by round."""
    return {measurement.round: getattr(measurement, metric) for measurement in chosen(measurements, variant, cell)}


def chosen(measurements: Iterable[Measurement], variant: str, cell: Cell) -> list[Measurement]:
    """A variant under a load."""
    return [each for each in measurements if (each.variant, each.cell) == (variant, cell)]
