"""The Python code in docs/, as it is written there, with the addresses of the test's servers."""

import re
import subprocess
import sys
from pathlib import Path

import grpc

from tests.client.conftest import target
from tests.edge.certificates import Authority
from tests.grpc_client import CALL_SECONDS
from tests.rest.conftest import running_stub
from tests.server_process import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "client.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESSES = ("127.0.0.1:50051", "mentorsync.example:443")


def test_the_code_runs(service: ServerProcess, tmp_path: Path) -> None:
    """All blocks of the page, one after the other, in one program."""
    authority = Authority(tmp_path, "ca")
    pair = authority.issue("server", "127.0.0.1")
    authority.issue("client")
    root = authority.ca.read_bytes()
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())], root, True)
    with running_stub("127.0.0.1", 0, credentials) as stub:
        program = "\n".join(BLOCK.findall(PAGE.read_text()))
        for written, real in zip(ADDRESSES, (service.grpc, target(stub)), strict=True):
            assert written in program
            program = program.replace(written, real)
        finished = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert len(stub.metadata) == 1
    assert "up to date" in finished.stdout
    assert finished.stdout.splitlines()[:2] == ["True paused", "paused False"]
    assert finished.stdout.splitlines()[-1] == "mentor_id"


def test_the_example_of_the_feed_runs(service: ServerProcess) -> None:
    """That of docs/live-feed.md."""
    (program,) = BLOCK.findall((DOCS / "live-feed.md").read_text())
    assert ADDRESSES[0] in program
    program = program.replace(ADDRESSES[0], service.grpc)
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=True)
    assert finished.stdout.startswith("up to date with")
