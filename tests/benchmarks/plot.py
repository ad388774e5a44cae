"""Plots latency against throughput."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.benchmarks.cells import REST_CELLS, Cell
from tests.benchmarks.measurement import by_round
from tests.benchmarks.results import Comparison
from tests.benchmarks.statistics import Summary
from tests.benchmarks.variants import EMBEDDED, FASTAPI_ENGINE, FASTAPI_ORM, SEPARATE

PLOTTED = (EMBEDDED, SEPARATE, FASTAPI_ENGINE, FASTAPI_ORM)
OPERATIONS = ("submit", "snapshot")


def draw(comparison: Comparison, path: Path) -> None:
    """Draws a chart for each operation. A line is a variant, and a point is a number of requests in flight."""
    mpl.use("Agg")
    figure, charts = plt.subplots(1, len(OPERATIONS), figsize=(11, 4.5), layout="constrained")
    for chart, operation in zip(charts, OPERATIONS, strict=True):
        cells = [cell for cell in REST_CELLS if cell.operation == operation]
        for variant in PLOTTED:
            points = [_point(comparison, variant.name, cell) for cell in cells]
            (line,) = chart.plot(*zip(*points, strict=True), marker="o", label=variant.name)
            for cell, point in zip(cells, points, strict=True):
                text = str(cell.in_flight)
                chart.annotate(text, point, (4, 4), textcoords="offset points", color=line.get_color(), fontsize=8)
        chart.set(title=f"REST {operation}, by requests in flight", xlabel="requests/s", ylabel="p99 ms", yscale="log")
        chart.set_xlim(left=0)
        chart.grid(which="both", alpha=0.3)
    charts[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _point(comparison: Comparison, variant: str, cell: Cell) -> tuple[float, float]:
    def median(metric: str) -> float:
        return Summary.of(list(by_round(comparison.measurements, variant, cell, metric).values())).median

    return median("throughput"), median("p99") / 1_000
