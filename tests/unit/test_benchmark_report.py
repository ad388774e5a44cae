"""The benchmark reports, with and without the results of optional runs."""

from pathlib import Path

import pytest

from tests.benchmarks.cells import REST_SUBMIT_64
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.report import feed_table, full_report, replicas_table
from tests.benchmarks.results import ROOT, Comparison, FeedRun, Results, load_results, save
from tests.benchmarks.targets import FEED_BOUNDS, replicas_target

PUBLISHED = ROOT / "docs" / "benchmarks"


@pytest.fixture
def replicas() -> Comparison:
    """Two rounds with one replica and with two. The machine is slower in the second round."""
    throughputs = [
        ("1 replica", 0, 1_000.0),
        ("2 replicas", 0, 1_500.0),
        ("2 replicas", 1, 300.0),
        ("1 replica", 1, 200.0),
    ]
    measurements = [
        Measurement(variant, REST_SUBMIT_64, number, throughput, 1_000, 9_000, {"python": 400}, "")
        for variant, number, throughput in throughputs
    ]
    return Comparison(2, 1, {"processor": "2 cores"}, [], measurements)


def test_replicas_are_compared_with_one_replica_of_the_same_round(replicas: Comparison) -> None:
    """A slow round does not change the ratio."""
    _, _, one, two, *_ = (row.split(" | ") for row in replicas_table(replicas).splitlines())
    assert one[1:4] == ["1 replica", "600 (400\N{EN DASH}800)", "1.00\N{MULTIPLICATION SIGN}"]
    assert two[1:4] == ["2 replicas", "900 (600\N{EN DASH}1,200)", "1.50\N{MULTIPLICATION SIGN}"]


def test_whole_replicas_are_compared_with_separate_ones_of_the_same_round(replicas: Comparison) -> None:
    """Without a run of both, nothing was measured."""
    assert replicas_target(replicas).values == replicas_target(None).values == []
    whole = [
        measurement._replace(variant="2 replicas, whole", throughput=2 * measurement.throughput)
        for measurement in replicas.measurements
        if measurement.variant == "2 replicas"
    ]
    both = replicas._replace(measurements=[*replicas.measurements, *whole])
    assert replicas_target(both).values == [2, 2]


def test_saved_results_can_be_loaded(tmp_path: Path, replicas: Comparison) -> None:
    """Missing files are left out."""
    save(replicas, tmp_path / "compare.json")
    assert load_results(tmp_path) == Results(replicas)
    save(replicas, tmp_path / "replicas.json")
    assert load_results(tmp_path) == Results(replicas, replicas=replicas)


def test_a_run_that_was_not_made_again_keeps_its_published_results(tmp_path: Path, replicas: Comparison) -> None:
    """The first directory counts where both have a run."""
    new, published = tmp_path / "new", tmp_path / "published"
    for directory in (new, published):
        directory.mkdir()
    save(replicas, published / "compare.json")
    save(replicas, published / "replicas.json")
    changed = replicas._replace(rounds=replicas.rounds + 1)
    save(changed, new / "compare.json")
    assert load_results(new, published) == Results(changed, replicas=replicas)


def test_a_run_of_the_feed_can_be_loaded_and_reported(tmp_path: Path, replicas: Comparison) -> None:
    """Every target has a row, measured or not."""
    run = FeedRun(1, 1_000, {"date": "2026-01-01", "load average": "1 to 2"}, {"deliveries": [60_000.0]})
    save(replicas, tmp_path / "compare.json")
    save(run, tmp_path / "feed.json")
    loaded = load_results(tmp_path).feed
    assert loaded == run
    rows = feed_table(run).splitlines()
    assert sum("not measured" in row for row in rows) == len(FEED_BOUNDS) - 1
    assert rows[2].endswith("| 60,000 | goal |")


def test_a_report_has_a_section_for_each_run(replicas: Comparison) -> None:
    """A run without results has no section."""
    comparison = load_results(PUBLISHED).comparison
    assert "## Where the time of one REST submit goes" in full_report(Results(comparison)).splitlines()
    without = full_report(Results(comparison))
    assert not {"## Growth", "## Soak", "## Replicas on PostgreSQL"} & {*without.splitlines()}
    assert "## Replicas on PostgreSQL" in full_report(Results(comparison, replicas=replicas)).splitlines()
