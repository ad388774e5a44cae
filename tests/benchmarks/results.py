"""The results of runs, stored as JSON files in .benchmarks, from which reports are made."""

import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.benchmarks.measurement import Measurement

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".benchmarks"


def result_path(name: str) -> Path:
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / name


class Comparison(NamedTuple):
    """A run of compare.py or of replicas.py.

    seconds: the duration of each measurement. ready_seconds: how long `mentorsync up` took to become ready, in each
    round; empty for replicas.py.
    """

    rounds: int
    seconds: int
    machine: dict[str, str]
    ready_seconds: list[float]
    measurements: list[Measurement]

    @property
    def is_full(self) -> bool:
        return self.rounds > 1

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        measurements = [Measurement.from_json(value) for value in values["measurements"]]
        return cls(**values | {"measurements": measurements})


class GrowthRow(NamedTuple):
    """durations: the median microseconds of an operation in each round, with `events` events in the database."""

    engine: str
    level: str
    operation: str
    events: int
    durations: list[float]


class Growth(NamedTuple):
    """A run of growth.py.

    beside_deep_pages: the p99 of snapshots while another client reads the last pages, divided by their usual p99, in
    each round. ready_seconds: how long `mentorsync up` took to become ready, by engine and number of events.
    snapshot_ratios: the time of operations on PostgreSQL while an old snapshot is open, divided by that without one, by
    operation and by what was done meanwhile.
    """

    machine: dict[str, str]
    rows: list[GrowthRow]
    beside_deep_pages: list[float]
    ready_seconds: dict[str, float]
    snapshot_ratios: dict[str, list[float]] = {}  # noqa: RUF012 - a NamedTuple's default is never changed

    @property
    def is_full(self) -> bool:
        return max(row.events for row in self.rows) == 10_000_000

    def ratios(self, engine: str, level: str, operation: str, events: int) -> list[float]:
        """Each round's duration, divided by the same round's duration at the smallest size."""
        rows = {row.events: row.durations for row in self.rows if row[:3] == (engine, level, operation)}
        if events not in rows:
            return []
        return [duration / base for duration, base in zip(rows[events], rows[min(rows)], strict=True)]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"rows": [GrowthRow(**row) for row in values["rows"]]})


class SoakSample(NamedTuple):
    """Sums over all processes. seconds: since the start of the run. memory: bytes. descriptors, threads: counts."""

    seconds: float
    memory: int
    descriptors: int
    threads: int


class Soak(NamedTuple):
    """A run of soak.py.

    answered: all answers. refused: those that were errors. broken: connections that clients closed before an answer.
    """

    machine: dict[str, str]
    minutes: float
    answered: int
    refused: int
    broken: int
    samples: list[SoakSample]

    @property
    def is_full(self) -> bool:
        return self.minutes >= 10

    @property
    def memory_after(self) -> int:
        return self.samples[-1].memory

    @property
    def memory_growth(self) -> float:
        """Memory in the last quarter of the run, divided by that in the second. In the first quarter caches fill."""
        memory = [sample.memory for sample in self.samples]
        quarter = len(memory) // 4
        return statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter])

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"samples": [SoakSample(**sample) for sample in values["samples"]]})


class FeedRun(NamedTuple):
    """A run of feed.py. rows: the values of each round, by name. The units are those of the targets."""

    rounds: int
    idle_streams: int
    machine: dict[str, str]
    rows: dict[str, list[float]]

    @property
    def is_full(self) -> bool:
        return self.rounds > 1

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values)


class Results(NamedTuple):
    comparison: Comparison
    growth: Growth | None = None
    soak: Soak | None = None
    replicas: Comparison | None = None
    feed: FeedRun | None = None


def save(result: Comparison | Growth | Soak | FeedRun, path: Path) -> None:
    path.write_text(json.dumps(_as_json(result), indent=1) + "\n")


def load_results(*directories: Path) -> Results:
    """Loads each run from the first directory that has it. Raises FileNotFoundError if none has a comparison."""
    kinds = {"growth": Growth, "soak": Soak, "replicas": Comparison, "feed": FeedRun}
    others = {name: _load(kind, f"{name}.json", directories) for name, kind in kinds.items()}
    comparison = _load(Comparison, "compare.json", directories)
    if comparison is None:
        raise FileNotFoundError(directories[0] / "compare.json")
    return Results(comparison, **others)


def _load(kind: Any, name: str, directories: tuple[Path, ...]) -> Any:
    path = next((path for directory in directories if (path := directory / name).exists()), None)
    return kind.from_json(json.loads(path.read_text())) if path else None


def _as_json(value: Any) -> Any:
    """Converts named tuples to objects, at every level. Only cells stay lists."""
    if isinstance(value, tuple) and hasattr(value, "_asdict") and type(value).__name__ != "Cell":
        return {name: _as_json(item) for name, item in value._asdict().items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value
