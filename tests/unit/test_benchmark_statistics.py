"""The statistics and verdicts of the benchmarks."""

import math

import pytest

from tests.benchmarks.databases import fault_of
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.statistics import Summary, percentile, ratios
from tests.benchmarks.targets import Bound


def test_a_summary_holds_the_median_and_both_quartiles() -> None:
    """With five values the quartiles are the second and the fourth."""
    assert Summary.of([5, 1, 3, 2, 4]) == Summary(3, 2, 4)


def test_the_quartiles_of_one_value_are_that_value() -> None:
    """A quick run has only one round."""
    assert Summary.of([7]) == Summary(7, 7, 7)


def test_ratios_are_formed_within_rounds() -> None:
    """A slow round has the same ratio as a fast round. A round that only one of the two has is ignored."""
    assert ratios({0: 10, 1: 100, 2: 5}, {1: 50, 0: 5, 3: 1}) == [2, 2]


def test_percentiles_are_values_that_were_measured() -> None:
    """No value is interpolated."""
    assert percentile(range(1, 101), 99) == 100
    assert percentile([3, 1, 2], 50) == 2
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize(
    ("bound", "value", "verdict"),
    [
        (Bound(8, 12), 12, "goal"),
        (Bound(8, 12), 8, "must"),
        (Bound(8, 12), 7.9, "missed"),
        (Bound(1.3, 1.1, at_least=False), 1.1, "goal"),
        (Bound(1.3, 1.1, at_least=False), 1.2, "must"),
        (Bound(1.3, 1.1, at_least=False), 1.4, "missed"),
    ],
)
def test_a_value_equal_to_the_limit_meets_the_target(bound: Bound, value: float, verdict: str) -> None:
    """The same rule holds for lower limits and for upper limits."""
    assert bound.verdict(value) == verdict


@pytest.mark.parametrize(
    ("requests", "errors", "applied", "is_right"),
    [(100, 0, 100, True), (100, 0, 116, True), (100, 0, 99, False), (100, 0, 117, False), (100, 1, 100, False)],
)
def test_the_database_must_match_the_answers(requests: int, errors: int, applied: int, *, is_right: bool) -> None:
    """Requests in flight at the end may be applied or not. Any other difference is a fault."""
    load = LoadResult(requests, seconds=1, p50=1, p99=1, errors=errors, generator=0)
    assert (fault_of(load, 16, 1_000, 1_000 + applied) == "") is is_right
