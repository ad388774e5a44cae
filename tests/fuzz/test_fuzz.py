"""Drawn requests at the addresses of `mentorsync up`: no 5xx, no hang, and every error in the error shape.

`make soak-fuzz` sends more of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.described import run_schemathesis
from tests.fuzz.rest import fuzz_rest
from tests.fuzz.rpc import fuzz_grpc
from tests.server_process import Database
from tests.up_process import UpProcess

REQUESTS = 1_000
EXAMPLES = 3


@pytest.fixture(scope="module", params=[(), ("--separate",)], ids=["embedded", "separate"])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    directory = tmp_path_factory.mktemp("fuzz")
    database = Database(directory / "mentorsync.db")
    database.migrate()
    up = UpProcess(database, directory / "up.log", request.param)
    yield up
    assert up.stop() == 0


async def test_bytes_over_rest(up: UpProcess) -> None:
    findings = await fuzz_rest(up.url, REQUESTS, seed=1)
    assert not findings.count, "\n".join(findings.faults)
    assert findings.answers.keys() >= {"200", "400", "404", "405", "431"}
    assert up.is_healthy()


async def test_bytes_over_grpc(up: UpProcess) -> None:
    findings = await fuzz_grpc(up.announced["gRPC"], REQUESTS, seed=1)
    assert not findings.count, "\n".join(findings.faults)
    assert findings.answers.keys() >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
    assert up.is_healthy()


@pytest.mark.parametrize("up", [()], indirect=True, ids=["embedded"])
def test_rest_is_as_described(up: UpProcess, tmp_path: Path) -> None:
    """What the OpenAPI description allows succeeds, what it forbids is refused, and answers are as described."""
    report = run_schemathesis(up.url, tmp_path, seed=1, examples=EXAMPLES, phases="examples,fuzzing")
    assert "Tested: 5" in report
