"""Where the time of one REST submit goes, in the one-process mode: its parts as far as each was measured alone."""

from collections.abc import Iterator

from tests.benchmarks.cells import DISK_SYNC, REST_SUBMIT_1, REST_SUBMIT_64, STORAGE_SUBMIT_64, Cell
from tests.benchmarks.markdown import table
from tests.benchmarks.measurement import Measurement, chosen
from tests.benchmarks.results import Comparison
from tests.benchmarks.statistics import Summary
from tests.benchmarks.variants import EMBEDDED, EMBEDDED_ECHO, ENGINE, FDATASYNC, Variant

CPU_TEXT = (
    "CPU of one submit at 64 in flight, the load generator aside. What was measured alone had the machine to itself: "
    "the last part holds all that sharing two cores and one interpreter costs."
)
WAITING_TEXT = "The wait for one answer, with nothing else in flight:"


def submit_parts(comparison: Comparison) -> str:
    """CPU at 64 in flight, and the wait for an answer at 1 in flight, which no other request shares."""
    cpu = table(("Part", "CPU µs"), _cpu_parts(comparison))
    waiting = table(("Part", "Median µs"), _waiting_parts(comparison))
    return f"{CPU_TEXT}\n\n{cpu}\n\n{WAITING_TEXT}\n\n{waiting}"


def _cpu_parts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    total = _median_cpu(comparison, EMBEDDED, REST_SUBMIT_64)
    host = _median_cpu(comparison, EMBEDDED_ECHO, REST_SUBMIT_64)
    storage = _median_cpu(comparison, ENGINE, STORAGE_SUBMIT_64)
    yield "Envoy: HTTP, JSON to protobuf and back, its log line; the way into Python and back (the echo)", f"{host:.0f}"
    yield "storage: deciding, SQLite, the write-ahead log and its checkpoints (the engine alone)", f"{storage:.0f}"
    yield (
        "the call: validation, conversion, log line, metrics; waiting for the interpreter",
        f"{total - host - storage:.0f}",
    )
    yield "all", f"{total:.0f}"


def _waiting_parts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    total = _median_wait(comparison, EMBEDDED, REST_SUBMIT_1)
    host = _median_wait(comparison, EMBEDDED_ECHO, REST_SUBMIT_1)
    sync = _median_wait(comparison, FDATASYNC, DISK_SYNC)
    yield "Envoy, and the way into Python and back (the echo)", f"{host:.0f}"
    yield "the disk (an fdatasync of 4 KiB)", f"{sync:.0f}"
    yield "deciding and SQLite, the call, and the way to the writer's thread and back", f"{total - host - sync:.0f}"
    yield "all", f"{total:.0f}"


def _median_cpu(comparison: Comparison, variant: Variant, cell: Cell) -> float:
    return _median(_service_cpu(measurement) for measurement in chosen(comparison.measurements, variant.name, cell))


def _service_cpu(measurement: Measurement) -> float:
    return sum(microseconds for process, microseconds in measurement.cpu.items() if process != "load generator")


def _median_wait(comparison: Comparison, variant: Variant, cell: Cell) -> float:
    return _median(measurement.p50 for measurement in chosen(comparison.measurements, variant.name, cell))


def _median(values: Iterator[float]) -> float:
    return Summary.of(list(values)).median
