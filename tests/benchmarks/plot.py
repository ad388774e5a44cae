"""Latency against throughput, as a picture."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.benchmarks.cells import REST_CELLS, Cell
from tests.benchmarks.measurement import by_round
from tests.benchmarks.results import Comparison
from tests.benchmarks.statistics import Summary
from tests.benchmarks.variants import EMBEDDED, FASTAPI_ENGINE, FASTAPI_ORM, SEPARATE

DRAWN = (EMBEDDED, SEPARATE, FASTAPI_ENGINE, FASTAPI_ORM)
OPERATIONS = ("submit", "snapshot")


def draw(comparison: Comparison, path: Path) -> None:
    """One field for each operation; a line for each variant, through its numbers of requests in flight."""
    mpl.use("Agg")
    figure, fields = plt.subplots(1, len(OPERATIONS), figsize=(11, 4.5), layout="constrained")
    for field, operation in zip(fields, OPERATIONS, strict=True):
        cells = [cell for cell in REST_CELLS if cell.operation == operation]
        for variant in DRAWN:
            points = [_point(comparison, variant.name, cell) for cell in cells]
            (line,) = field.plot(*zip(*points, strict=True), marker="o", label=variant.name)
            for cell, point in zip(cells, points, strict=True):
                text = str(cell.in_flight)
                field.annotate(text, point, (4, 4), textcoords="offset points", color=line.get_color(), fontsize=8)
        field.set(title=f"REST {operation}, by requests in flight", xlabel="requests/s", ylabel="p99 ms", yscale="log")
        field.set_xlim(left=0)
        field.grid(which="both", alpha=0.3)
    fields[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _point(comparison: Comparison, variant: str, cell: Cell) -> tuple[float, float]:
    def median(metric: str) -> float:
        return Summary.of(list(by_round(comparison.measurements, variant, cell, metric).values())).median

    return median("throughput"), median("p99") / 1_000
