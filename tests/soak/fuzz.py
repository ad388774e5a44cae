"""Drawn requests at the REST and the gRPC address of `mentorsync up`, in both layouts: `make soak-fuzz`."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.described import run_schemathesis
from tests.fuzz.findings import Findings
from tests.fuzz.rest import fuzz_rest
from tests.fuzz.rpc import fuzz_grpc
from tests.server_process import Database
from tests.soak.soaking import Outcome, Row, soak
from tests.up_process import UpProcess

REST_REQUESTS, GRPC_REQUESTS = 40_000, 15_000  # in each layout
EXAMPLES = 200  # of schemathesis, for each call and kind of data
PHASES = "examples,coverage,fuzzing,stateful"
QUICK_DIVISOR = 20
LAYOUTS: dict[str, tuple[str, ...]] = {"embedded": (), "separate": ("--separate",)}


def run(is_quick: bool, seed: int) -> Outcome:
    divisor = QUICK_DIVISOR if is_quick else 1
    rows: list[Row] = []
    for layout, flags in LAYOUTS.items():
        with running(flags) as up:
            rest = asyncio.run(fuzz_rest(up.url, REST_REQUESTS // divisor, seed))
            rows.append(row(layout, "REST", rest))
            grpc = asyncio.run(fuzz_grpc(up.announced["gRPC"], GRPC_REQUESTS // divisor, seed))
            rows.append(row(layout, "gRPC", grpc))
            rows.append(described_row(layout, up, EXAMPLES // divisor, seed))
            assert up.is_healthy()
    return Outcome(rows, not any(row["faults"] for row in rows))


@contextmanager
def running(flags: tuple[str, ...]) -> Iterator[UpProcess]:
    with TemporaryDirectory() as directory:
        database = Database(Path(directory, "mentorsync.db"))
        database.migrate()
        up = UpProcess(database, Path(directory, "up.log"), flags)
        try:
            yield up
        finally:
            up.stop()


def described_row(layout: str, up: UpProcess, examples: int, seed: int) -> Row:
    with TemporaryDirectory() as directory:
        report = run_schemathesis(up.url, Path(directory), seed=seed, examples=examples, phases=PHASES)
    requests = int(report.partition(" generated")[0].split()[-1])
    return {"layout": layout, "transport": "REST by the description", "requests": requests, "faults": 0, "outcomes": ""}


def row(layout: str, transport: str, findings: Findings) -> Row:
    for fault in findings.faults:
        sys.stdout.write(f"{layout}, {transport}: {fault}\n")
    outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in findings.answers.most_common())
    return {
        "layout": layout,
        "transport": transport,
        "requests": findings.answers.total(),
        "faults": findings.count,
        "outcomes": outcomes,
    }


if __name__ == "__main__":
    soak("fuzz", run, __doc__)
