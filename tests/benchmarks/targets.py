"""The performance targets, with the measured values for each."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from tests.benchmarks import cells
from tests.benchmarks import variants as v
from tests.benchmarks.cells import Cell
from tests.benchmarks.measurement import by_round
from tests.benchmarks.results import Comparison, FeedRun, Growth, Results, Soak
from tests.benchmarks.statistics import ratios
from tests.benchmarks.variants import Variant


class Bound(NamedTuple):
    """Two limits in one unit. at_least: whether they are lower limits or upper ones."""

    must: float
    goal: float
    unit: str = "×"
    at_least: bool = True

    def verdict(self, value: float) -> str:
        for limit, name in ((self.goal, "goal"), (self.must, "must")):
            if value >= limit if self.at_least else value <= limit:
                return name
        return "missed"


class Target(NamedTuple):
    """One row of the table. values: one for each round; empty if nothing was measured."""

    description: str
    bound: Bound
    values: list[float]


class RatioRow(NamedTuple):
    """The ratio of a metric (a field of Measurement, `label` in the table) between two variants under one load."""

    label: str
    cell: Cell
    variant: Variant
    base: Variant
    bound: Bound
    metric: str = "throughput"


def at_most(must: float, goal: float, unit: str = "×") -> Bound:
    return Bound(must, goal, unit, at_least=False)


RATIO_ROWS = (
    RatioRow("throughput", cells.REST_SUBMIT_16, v.EMBEDDED, v.FASTAPI_ORM, Bound(10, 12)),
    RatioRow("throughput", cells.REST_SUBMIT_64, v.EMBEDDED, v.FASTAPI_ORM, Bound(10, 16)),
    RatioRow("p99", cells.REST_SUBMIT_16, v.EMBEDDED, v.FASTAPI_ORM, at_most(1, 1), "p99"),
    RatioRow("p99", cells.REST_SUBMIT_64, v.EMBEDDED, v.FASTAPI_ORM, at_most(1, 1), "p99"),
    RatioRow("throughput", cells.REST_SUBMIT_1, v.EMBEDDED, v.FASTAPI_ORM, Bound(2.2, 2.5)),
    RatioRow("throughput", cells.REST_SNAPSHOT_16, v.EMBEDDED, v.FASTAPI_ORM, Bound(7, 11)),
    RatioRow("throughput", cells.REST_SNAPSHOT_64, v.EMBEDDED, v.FASTAPI_ORM, Bound(8, 15)),
    RatioRow("throughput", cells.REST_LIST_16, v.EMBEDDED, v.FASTAPI_ORM, Bound(5, 10)),
    RatioRow("throughput", cells.REST_UPDATE_16, v.EMBEDDED, v.FASTAPI_ORM, Bound(5, 10)),
    RatioRow("throughput", cells.REST_DELETE_16, v.EMBEDDED, v.FASTAPI_ORM, Bound(5, 10)),
    RatioRow("throughput", cells.REST_SUBMIT_16, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(1.2, 1.7)),
    RatioRow("throughput", cells.REST_SUBMIT_64, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(1.5, 2.2)),
    RatioRow("throughput", cells.REST_SNAPSHOT_16, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(1.5, 2)),
    RatioRow("throughput", cells.REST_SNAPSHOT_64, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(2, 3)),
    RatioRow("throughput", cells.REST_SNAPSHOT_OF_100_16, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(2, 3)),
    RatioRow("throughput", cells.REST_SNAPSHOT_OF_100_64, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(2, 3)),
    RatioRow("throughput", cells.REST_LIST_OF_100_16, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(2, 3)),
    RatioRow("throughput", cells.REST_LIST_OF_100_64, v.EMBEDDED, v.FASTAPI_ENGINE, Bound(2, 3)),
    RatioRow("throughput", cells.REST_SUBMIT_64, v.SEPARATE, v.FASTAPI_ORM, Bound(4.5, 6)),
    RatioRow("throughput", cells.GRPC_SUBMIT_64, v.GRPC_SERVER, v.GRPC_ECHO, Bound(0.65, 0.8)),
    RatioRow("throughput", cells.GRPC_SNAPSHOT_16, v.GRPC_SERVER, v.GRPC_ECHO, Bound(0.8, 0.9)),
    RatioRow("throughput", cells.GRPC_SUBMIT_64, v.EMBEDDED_GRPC, v.GRPC_ECHO, Bound(1.2, 1.5)),
    RatioRow("throughput", cells.GRPC_SNAPSHOT_16, v.EMBEDDED_GRPC, v.GRPC_ECHO, Bound(1.3, 1.8)),
    RatioRow("throughput", cells.REST_SUBMIT_64, v.EMBEDDED, v.EMBEDDED_ECHO, Bound(0.42, 0.5)),
    RatioRow("throughput", cells.STORAGE_SUBMIT_64, v.ENGINE, v.ORM, Bound(12, 18)),
    RatioRow("throughput", cells.POSTGRES_SUBMIT_64, v.POSTGRES, v.POSTGRES_ORM, Bound(4, 6)),
    RatioRow("throughput", cells.POSTGRES_SUBMIT_1, v.POSTGRES, v.POSTGRES_ORM, Bound(1, 1.5)),
    # What the security settings cost on connections that stay open.
    RatioRow("throughput", cells.REST_SUBMIT_64, v.EMBEDDED_LOCKED, v.EMBEDDED, Bound(0.75, 0.85)),
    RatioRow("throughput", cells.REST_SNAPSHOT_64, v.EMBEDDED_LOCKED, v.EMBEDDED, Bound(0.75, 0.85)),
    # The purpose of the embedded mode.
    RatioRow("throughput", cells.REST_SUBMIT_16, v.EMBEDDED, v.SEPARATE, Bound(1.7, 1.7)),
    RatioRow("throughput", cells.REST_SUBMIT_64, v.EMBEDDED, v.SEPARATE, Bound(2, 2)),
    RatioRow("throughput", cells.REST_SNAPSHOT_16, v.EMBEDDED, v.SEPARATE, Bound(2.2, 2.2)),
    RatioRow("throughput", cells.REST_SNAPSHOT_64, v.EMBEDDED, v.SEPARATE, Bound(3, 3)),
)
# Loads of 100 events, and the same of one event.
HUNDRED_AND_ONE = (
    (cells.REST_LIST_OF_100_16, cells.REST_LIST_OF_1_16),
    (cells.REST_LIST_OF_100_64, cells.REST_LIST_OF_1_64),
    (cells.REST_SNAPSHOT_OF_100_16, cells.REST_SNAPSHOT_16),
    (cells.REST_SNAPSHOT_OF_100_64, cells.REST_SNAPSHOT_64),
)
# By the name of the row in a run of feed.py.
FEED_BOUNDS = {
    "deliveries": ("Deliveries a second over SSE, 1,000 subscribers to everything", Bound(20_000, 50_000, "")),
    "deliveries, compared with the peer": ("The same, compared with FastAPI's broadcast", Bound(3, 8)),
    "fan-out p99": ("Commit to receipt, p99, 1,000 subscribers and 20 changes/s", at_most(100, 50, " ms")),
    "own stream p50": ("Commit to receipt of one mentor's stream during 1,000 writes/s, p50", at_most(5, 2, " ms")),
    "own stream p99": ("The same, p99", at_most(25, 10, " ms")),
    "two replicas p99": ("Commit on one replica to receipt from another, p99", at_most(150, 60, " ms")),
    "memory of an SSE stream": ("Memory of one idle SSE stream", at_most(60, 40, " KB")),
    "memory of a gRPC stream": ("Memory of one idle gRPC stream", at_most(40, 24, " KB")),
    "memory of 10,000 idle streams": ("Memory in all with 10,000 idle SSE streams", at_most(750, 500, " MB")),
    "CPU of 10,000 idle streams": ("CPU with 10,000 idle SSE streams", at_most(5, 2, " % of a core")),
    "restart under 5,000 streams": (
        "From the stop until all of 5,000 streams are current again",
        at_most(30, 15, " s"),
    ),
    "p99 of snapshots after a restart under 5,000 streams, compared with usual": (
        "p99 of snapshots meanwhile, compared with usual",
        at_most(4, 2),
    ),
    "p99 beside stalled readers, compared with usual": (
        "Commit to receipt with 500 stalled readers, p99, compared with none",
        at_most(1.5, 1.2),
    ),
    "submit p99 with subscribers, compared with none": (
        "p99 of submits, 200/s, with 1,000 subscribers to everything, compared with none",
        at_most(1.3, 1.3),
    ),
    "submit p99 with subscribers of one mentor each, compared with none": (
        "The same, with 1,000 subscribers of one mentor each",
        at_most(1.3, 1.3),
    ),
}
GROWING = ("page 1", "snapshot", "submit", "update")


def all_targets(results: Results) -> list[Target]:
    """All targets, measured or not."""
    return [
        *comparison_targets(results.comparison),
        *page_targets(results.comparison),
        replicas_target(results.replicas),
        *growth_targets(results.growth),
        *soak_targets(results.soak),
        *feed_targets(results.feed),
        Target(
            "Time from start to ready of `mentorsync up` (warm start)",
            at_most(3, 1.5, " s"),
            results.comparison.ready_seconds,
        ),
    ]


def comparison_targets(comparison: Comparison) -> Iterator[Target]:
    for row in RATIO_ROWS:
        values, base = (
            by_round(comparison.measurements, variant.name, row.cell, row.metric) for variant in (row.variant, row.base)
        )
        description = f"{row.cell}: {row.label} of {row.variant.name}, compared with {row.base.name}"
        yield Target(description, row.bound, ratios(values, base))


def page_targets(comparison: Comparison) -> Iterator[Target]:
    for pair in HUNDRED_AND_ONE:
        hundred, one = (by_round(comparison.measurements, v.EMBEDDED.name, cell, "service_cpu") for cell in pair)
        description = f"{pair[0]}: CPU time of embedded, compared with {pair[1].operation}"
        yield Target(description, at_most(4, 2.5), ratios(hundred, one))


def replicas_target(replicas: Comparison | None) -> Target:
    cell = cells.REST_SUBMIT_64
    whole, separate = (
        by_round(replicas.measurements if replicas else [], name, cell, "throughput")
        for name in ("2 replicas, whole", "2 replicas")
    )
    description = f"{cell} on PostgreSQL: throughput of 2 whole replicas, compared with 2 separate ones"
    return Target(description, Bound(1.6, 2), ratios(whole, separate))


def growth_targets(growth: Growth | None) -> Iterator[Target]:
    for engine, operation in product(("SQLite", "PostgreSQL"), GROWING):
        values = growth.ratios(engine, "storage", operation, 10_000_000) if growth else []
        description = f"Storage on {engine}: time of {operation} at 10,000,000 events, compared with 1,000"
        yield Target(description, at_most(1.3, 1.1), values)
    for what, values in (growth.snapshot_ratios if growth else {}).items():
        bound = at_most(1.5, 1.2) if "acknowledged" in what else at_most(1.2, 1.1)
        yield Target(
            f"PostgreSQL while an old snapshot is open: time of {what}, compared with none open", bound, values
        )
    values = growth.beside_deep_pages if growth else []
    description = (
        "p99 of snapshots while another client reads the last pages of 1,000,000 pending events, compared with usual"
    )
    yield Target(description, at_most(1.5, 1.2), values)


def soak_targets(soak: Soak | None) -> Iterator[Target]:
    memory = [soak.memory_after / 1e6] if soak else []
    yield Target("Memory after the soak: embedded, Envoy included", at_most(170, 140, " MB"), memory)
    growth = [soak.memory_growth] if soak else []
    yield Target(
        "Memory in the last quarter of the soak, compared with its second quarter", at_most(1.05, 1.02), growth
    )


def feed_targets(feed: FeedRun | None) -> Iterator[Target]:
    for name, (description, bound) in FEED_BOUNDS.items():
        yield Target(f"Feed: {description}", bound, feed.rows.get(name, []) if feed else [])
