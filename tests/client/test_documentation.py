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
    """Each block of the page is a program of its own, so that a reader can copy any of them."""
    authority = Authority(tmp_path, "ca")
    pair = authority.issue("server", "127.0.0.1")
    authority.issue("client")
    root = authority.ca.read_bytes()
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())], root, True)
    with running_stub("127.0.0.1", 0, credentials) as stub:
        page = PAGE.read_text()
        for written, real in zip(ADDRESSES, (service.grpc, target(stub)), strict=True):
            assert written in page
            page = page.replace(written, real)
        printed = "".join(run(program, tmp_path) for program in BLOCK.findall(page))
        assert len(stub.metadata) == 1
    assert "up to date" in printed
    assert printed.splitlines()[:2] == ["True paused", "paused False"]
    assert printed.splitlines()[-1] == "mentor_id"


def test_the_example_of_the_feed_runs(service: ServerProcess, tmp_path: Path) -> None:
    """That of docs/live-feed.md."""
    (program,) = BLOCK.findall((DOCS / "live-feed.md").read_text())
    assert ADDRESSES[0] in program
    program = program.replace(ADDRESSES[0], service.grpc)
    assert run(program, tmp_path).startswith("up to date with")


def run(program: str, directory: Path) -> str:
    """Runs the program and returns what it printed."""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
