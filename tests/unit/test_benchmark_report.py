"""What the reports make of the runs that there are."""

from pathlib import Path

import pytest

from tests.benchmarks.cells import REST_SUBMIT_64
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.report import full_report, replicas_table
from tests.benchmarks.results import ROOT, Comparison, Results, load_results, save

PUBLISHED = ROOT / "docs" / "benchmarks"


@pytest.fixture
def replicas() -> Comparison:
    """Two rounds, the second on a machine that was slower, with one replica and with two."""
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


def test_replicas_are_held_against_one_of_the_same_round(replicas: Comparison) -> None:
    """However much slower a round was, the ratio is that of the others."""
    _, _, one, two, *_ = (row.split(" | ") for row in replicas_table(replicas).splitlines())
    assert one[1:4] == ["1 replica", "600 (400\N{EN DASH}800)", "1.00\N{MULTIPLICATION SIGN}"]
    assert two[1:4] == ["2 replicas", "900 (600\N{EN DASH}1,200)", "1.50\N{MULTIPLICATION SIGN}"]


def test_runs_come_back_from_their_files(tmp_path: Path, replicas: Comparison) -> None:
    """Those that are not there are left out."""
    save(replicas, tmp_path / "compare.json")
    assert load_results(tmp_path) == Results(replicas)
    save(replicas, tmp_path / "replicas.json")
    assert load_results(tmp_path) == Results(replicas, replicas=replicas)


def test_a_report_has_a_section_for_each_run(replicas: Comparison) -> None:
    """Also where nobody has run some of them."""
    comparison = load_results(PUBLISHED).comparison
    assert "## Where the time of one REST submit goes" in full_report(Results(comparison)).splitlines()
    without = full_report(Results(comparison))
    assert not {"## Growth", "## Soak", "## Replicas on PostgreSQL"} & {*without.splitlines()}
    assert "## Replicas on PostgreSQL" in full_report(Results(comparison, replicas=replicas)).splitlines()
