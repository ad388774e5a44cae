"""Formats the results as Markdown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.benchmarks.cells import CELLS, Cell
from tests.benchmarks.markdown import table, with_quartiles
from tests.benchmarks.measurement import Measurement, by_round, select
from tests.benchmarks.parts import submit_parts
from tests.benchmarks.results import Comparison, FeedRun, Growth, Results, Soak
from tests.benchmarks.statistics import Summary, ratios
from tests.benchmarks.targets import Target, all_targets, feed_targets
from tests.benchmarks.variants import EMBEDDED, EMBEDDED_AGAIN, VARIANTS

MEGABYTE = 1e6
SOAK_ROWS = 10
TITLES = {"storage": "Storage"}  # section titles that differ from the transport's name


def full_report(results: Results) -> str:
    comparison = results.comparison
    sections = [
        ("Targets", targets_table(all_targets(results))),
        ("Where the time of one REST submit goes", submit_parts(comparison)),
        *(
            (TITLES.get(transport, transport), load_table(comparison, transport))
            for transport in dict.fromkeys(cell.transport for cell in CELLS)
        ),
        ("Noise: the same variant measured twice", noise_table(comparison)),
    ]
    if results.replicas:
        sections.append(("Replicas on PostgreSQL", replicas_table(results.replicas)))
    if results.growth:
        sections.append(("Growth", growth_table(results.growth)))
    if results.soak:
        sections.append(("Soak", soak_table(results.soak)))
    if results.feed:
        sections.append(("Live feed", feed_table(results.feed)))
    sections.append(("Machine", machine_table(comparison)))
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections) + "\n"


def targets_table(targets: Iterable[Target]) -> str:
    return table(("Target", "Must", "Goal", "Measured", "Met"), map(_target_row, targets))


def _target_row(target: Target) -> Sequence[str]:
    bound = target.bound
    sign = "≥" if bound.at_least else "≤"
    limits = [f"{sign} {limit:g}{bound.unit}" for limit in (bound.must, bound.goal)]
    if not target.values:
        return (target.description, *limits, "", "not measured")
    summary = Summary.of(target.values)
    return (target.description, *limits, with_quartiles(summary, bound.unit), bound.verdict(summary.median))


def load_table(comparison: Comparison, transport: str) -> str:
    """One row for each load and variant."""
    rows = [
        _load_row(comparison.measurements, variant.name, cell)
        for cell in CELLS
        if cell.transport == transport
        for variant in VARIANTS
        if cell in variant.cells and select(comparison.measurements, variant.name, cell)
    ]
    return table(("Load", "Variant", "Requests/s", "p50 ms", "p99 ms", "CPU µs per request"), rows)


def _load_row(measurements: Sequence[Measurement], variant: str, cell: Cell) -> Sequence[str]:
    def summary(metric: str, scale: float = 1) -> str:
        return with_quartiles(
            Summary.of([value * scale for value in by_round(measurements, variant, cell, metric).values()])
        )

    load = f"{cell.operation}, {cell.in_flight} in flight"
    cpu = cpu_split(measurements, variant, cell)
    return (load, variant, summary("throughput"), summary("p50", 1e-3), summary("p99", 1e-3), cpu)


def cpu_split(measurements: Sequence[Measurement], variant: str, cell: Cell) -> str:
    """The median of each process: first those of the service, last the load generator."""
    by_process = defaultdict(list)
    for measurement in select(measurements, variant, cell):
        for name, microseconds in measurement.cpu.items():
            by_process[name].append(microseconds)
    medians = {name: Summary.of(values).median for name, values in by_process.items()}
    return ", ".join(f"{name} {median:.0f}" for name, median in medians.items() if round(median))


def noise_table(comparison: Comparison) -> str:
    rows = []
    for cell in EMBEDDED_AGAIN.cells:
        again, once = (
            by_round(comparison.measurements, variant.name, cell, "throughput")
            for variant in (EMBEDDED_AGAIN, EMBEDDED)
        )
        rows.append((str(cell), with_quartiles(Summary.of(ratios(again, once)), "×")))
    return table(("Load", "Throughput, second measurement divided by first"), rows)


def replicas_table(replicas: Comparison) -> str:
    """One row for each load and number of replicas, in ascending order."""
    measurements = replicas.measurements
    one, *_ = names = sorted({measurement.variant for measurement in measurements})
    rows = []
    for cell in dict.fromkeys(measurement.cell for measurement in measurements):
        base = by_round(measurements, one, cell, "throughput")
        for name in names:
            load, _, throughput, *others = _load_row(measurements, name, cell)
            against_one = Summary.of(ratios(by_round(measurements, name, cell, "throughput"), base))
            rows.append((load, name, throughput, with_quartiles(against_one, "×"), *others))
    header = ("Load", "Servers", "Requests/s", "Ratio to one replica", "p50 ms", "p99 ms", "CPU µs per request")
    return (
        f"{table(header, rows)}\n\nAll loads use REST. The servers, their gateway, PostgreSQL and the load generator "
        f"share {replicas.machine['processor']}."
    )


def growth_table(growth: Growth) -> str:
    rows = []
    for row in growth.rows:
        ratio = growth.ratios(row.engine, row.level, row.operation, row.events)
        duration = with_quartiles(Summary.of(row.durations))
        against_smallest = with_quartiles(Summary.of(ratio), "×")
        rows.append((row.engine, row.level, row.operation, f"{row.events:,}", duration, against_smallest))
    ready = [(events, f"{seconds:.2f}") for events, seconds in growth.ready_seconds.items()]
    header = ("Engine", "Level", "Operation", "Events", "Median µs", "Ratio to the smallest")
    ratio_to_usual = with_quartiles(Summary.of(growth.beside_deep_pages), "×")
    snapshot = [(what, with_quartiles(Summary.of(values), "×")) for what, values in growth.snapshot_ratios.items()]
    snapshot_table = table(("PostgreSQL, while an old snapshot is open", "Ratio to none open"), snapshot)
    return (
        f"{table(header, rows)}\n\n{snapshot_table}\n\n"
        f"Time from start to ready:\n\n{table(('Events', 'Seconds'), ready)}\n\n"
        f"p99 of snapshots while another client reads the last pages, divided by their usual p99: {ratio_to_usual}."
    )


def soak_table(soak: Soak) -> str:
    rows = [
        (
            f"{sample.seconds / 60:.1f}",
            f"{sample.memory / MEGABYTE:.0f}",
            str(sample.descriptors),
            str(sample.threads),
        )
        for sample in soak.samples[:: max(1, len(soak.samples) // SOAK_ROWS)]
    ]
    counts = (
        f"{soak.minutes:g} minutes, {soak.answered:,} answers, {soak.refused:,} of them errors. Clients closed "
        f"{soak.broken:,} further connections before they had an answer."
    )
    return f"{counts}\n\n{table(('Minute', 'Memory MB', 'File descriptors', 'Threads'), rows)}"


def feed_table(feed: FeedRun) -> str:
    """The targets, then all values that were measured."""
    rows = [(name, with_quartiles(Summary.of(values))) for name, values in feed.rows.items()]
    load = f"{feed.rounds} rounds, on {feed.machine['date']}. Load average: {feed.machine['load average']}."
    return f"{targets_table(feed_targets(feed))}\n\n{table(('Figure', 'Measured'), rows)}\n\n{load}"


def machine_table(comparison: Comparison) -> str:
    facts = comparison.machine | {
        "rounds": f"{comparison.rounds}, with {comparison.seconds} s for each measurement of writes"
    }
    return table(("Fact", "Value"), facts.items())
