"""Formats numbers and tables for reports."""

from collections.abc import Iterable, Sequence

from tests.benchmarks.statistics import Summary


def with_quartiles(summary: Summary, unit: str = "") -> str:
    """The median, then the quartiles in parentheses, with about three significant digits."""
    digits = 0 if summary.median >= 100 else 1 if summary.median >= 10 else 2
    median, lower, upper = (f"{value:,.{digits}f}" for value in summary)
    return f"{median}{unit} ({lower}–{upper})" if lower != upper else f"{median}{unit}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
