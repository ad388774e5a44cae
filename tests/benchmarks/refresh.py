"""Publishes the figures of the last full runs in docs/performance.md and README.md: `make bench-docs`.

Replaces the text between the markers, and copies the runs' JSON files and the plot to docs/benchmarks. What was not run
again keeps the figures that are published there.
"""

import re
import shutil
import sys
from pathlib import Path

from tests.benchmarks import cells
from tests.benchmarks.cells import Cell
from tests.benchmarks.markdown import table
from tests.benchmarks.measurement import by_round
from tests.benchmarks.plot import draw
from tests.benchmarks.report import full_report
from tests.benchmarks.results import RESULTS, ROOT, Comparison, Results, load_results
from tests.benchmarks.statistics import Summary
from tests.benchmarks.variants import EMBEDDED, FASTAPI_ENGINE, FASTAPI_ORM, SEPARATE

PUBLISHED = ROOT / "docs" / "benchmarks"
SHORT_TABLE_CELLS = (cells.REST_SUBMIT_64, cells.REST_SNAPSHOT_64, cells.REST_LIST_16)
SHORT_TABLE_VARIANTS = (EMBEDDED, SEPARATE, FASTAPI_ENGINE, FASTAPI_ORM)


def main() -> None:
    results = load_results(RESULTS, PUBLISHED)
    runs = {
        "compare": results.comparison,
        "growth": results.growth,
        "soak": results.soak,
        "replicas": results.replicas,
        "feed": results.feed,
    }
    for name, run in runs.items():
        if run is not None and not run.is_full:
            sys.exit(f"{RESULTS / name}.json comes from a quick run. Repeat the run in full, or remove the file.")
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    for name in runs:
        if (path := RESULTS / f"{name}.json").exists():
            shutil.copy(path, PUBLISHED)
    draw(results.comparison, PUBLISHED / "latency.png")
    replace(ROOT / "docs" / "performance.md", full_report(results))
    replace(ROOT / "README.md", short_table(results))


def replace(path: Path, text: str) -> None:
    """Replaces the text between the file's markers. Ends the program if there are no markers."""
    replaced, count = re.subn(
        r"(<!-- benchmarks: begin[^>]*-->\n).*?(<!-- benchmarks: end -->)",
        lambda match: f"{match[1]}\n{text.strip()}\n\n{match[2]}",
        path.read_text(),
        flags=re.DOTALL,
    )
    if not count:
        sys.exit(f"{path} has no line <!-- benchmarks: begin --> followed by a line <!-- benchmarks: end -->")
    path.write_text(replaced)


def short_table(results: Results) -> str:
    """A table with throughput and p99 of a few loads, and a line about the machine."""
    comparison = results.comparison
    rows = [
        (variant.name, *(_throughput_and_p99(comparison, variant.name, cell) for cell in SHORT_TABLE_CELLS))
        for variant in SHORT_TABLE_VARIANTS
    ]
    machine = comparison.machine
    return (
        f"{table(('Requests/s (p99)', *map(str, SHORT_TABLE_CELLS)), rows)}\n\n"
        f"Medians of {comparison.rounds} rounds on {machine['processor']}, {machine['date']}. "
        "Every write is on disk before its answer."
    )


def _throughput_and_p99(comparison: Comparison, variant: str, cell: Cell) -> str:
    def median(metric: str) -> float:
        return Summary.of(list(by_round(comparison.measurements, variant, cell, metric).values())).median

    return f"{median('throughput'):,.0f} ({median('p99') / 1000:.0f} ms)"


if __name__ == "__main__":
    main()
