"""Splits the time of one REST submit in the embedded mode into parts. Some parts were measured on their own."""

from collections.abc import Iterator

from tests.benchmarks.cells import DISK_SYNC, REST_SUBMIT_1, REST_SUBMIT_64, STORAGE_SUBMIT_64, Cell
from tests.benchmarks.markdown import table
from tests.benchmarks.measurement import select
from tests.benchmarks.results import Comparison
from tests.benchmarks.statistics import Summary
from tests.benchmarks.variants import EMBEDDED, EMBEDDED_ECHO, ENGINE, FDATASYNC, Variant

CPU_TEXT = (
    "CPU time of one submit with 64 in flight, without the load generator. The first two parts were measured on their "
    "own, on an otherwise idle machine. The third part is the rest, so it includes the cost of sharing two cores and "
    "one interpreter."
)
LATENCY_TEXT = "Latency of one submit, with no other request in flight:"


def submit_parts(comparison: Comparison) -> str:
    """Two tables: CPU time with 64 requests in flight, and latency with one."""
    cpu = table(("Part", "CPU µs"), _cpu_parts(comparison))
    latency = table(("Part", "Median µs"), _latency_parts(comparison))
    return f"{CPU_TEXT}\n\n{cpu}\n\n{LATENCY_TEXT}\n\n{latency}"


def _cpu_parts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    total = _median_cpu(comparison, EMBEDDED, REST_SUBMIT_64)
    host = _median_cpu(comparison, EMBEDDED_ECHO, REST_SUBMIT_64)
    storage = _median_cpu(comparison, ENGINE, STORAGE_SUBMIT_64)
    yield "Envoy: HTTP, transcoding, access log; the calls into Python and back (measured as the echo)", f"{host:.0f}"
    yield "storage: decision, SQLite, write-ahead log and checkpoints (measured as the engine alone)", f"{storage:.0f}"
    yield (
        "the call: validation, conversion, log line, metrics; waiting for the interpreter lock (the rest)",
        f"{total - host - storage:.0f}",
    )
    yield "total", f"{total:.0f}"


def _latency_parts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    total = _median_latency(comparison, EMBEDDED, REST_SUBMIT_1)
    host = _median_latency(comparison, EMBEDDED_ECHO, REST_SUBMIT_1)
    sync = _median_latency(comparison, FDATASYNC, DISK_SYNC)
    yield "Envoy, and the calls into Python and back (measured as the echo)", f"{host:.0f}"
    yield "the disk (measured as an fdatasync of 4 KiB)", f"{sync:.0f}"
    yield (
        "the call, the decision, SQLite, and the switch to the writer thread and back (the rest)",
        f"{total - host - sync:.0f}",
    )
    yield "total", f"{total:.0f}"


def _median_cpu(comparison: Comparison, variant: Variant, cell: Cell) -> float:
    return _median(measurement.service_cpu for measurement in select(comparison.measurements, variant.name, cell))


def _median_latency(comparison: Comparison, variant: Variant, cell: Cell) -> float:
    return _median(measurement.p50 for measurement in select(comparison.measurements, variant.name, cell))


def _median(values: Iterator[float]) -> float:
    return Summary.of(list(values)).median
