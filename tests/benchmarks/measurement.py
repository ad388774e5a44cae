"""One measurement: the result of one variant under one load in one round."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from tests.benchmarks.cells import Cell

LOAD_GENERATOR = "load generator"  # the name under which `cpu` has the load generator


class Measurement(NamedTuple):
    """throughput: requests per second. p50, p99: microseconds. cpu: microseconds per request, by process name. fault: a
    description of a failed verification, or "".
    """

    variant: str
    cell: Cell
    round: int
    throughput: float
    p50: float
    p99: float
    cpu: Mapping[str, float]
    fault: str

    @property
    def service_cpu(self) -> float:
        """CPU microseconds per request, without those of the load generator."""
        return sum(microseconds for process, microseconds in self.cpu.items() if process != LOAD_GENERATOR)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**value | {"cell": Cell(*value["cell"])})


def by_round(measurements: Iterable[Measurement], variant: str, cell: Cell, metric: str) -> dict[int, float]:
    """The values of one metric for a variant under a load, by round. `metric` names an attribute of Measurement."""
    return {measurement.round: getattr(measurement, metric) for measurement in select(measurements, variant, cell)}


def select(measurements: Iterable[Measurement], variant: str, cell: Cell) -> list[Measurement]:
    """The measurements of a variant under a load."""
    return [each for each in measurements if (each.variant, each.cell) == (variant, cell)]
