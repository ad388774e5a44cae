"""Limits of the system that are too low: for a start, one line with the cause; later, a refusal until there is room."""

import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract import BASE
from tests.faults.conftest import StartUp
from tests.server_process import Database, environment, wait_until
from tests.up_process import LISTENERS

SPARE_FILES = 5  # that a process may still open
CONNECTIONS = 50
NO_ANSWER_SECONDS = 1.0  # far longer than an answer takes

RUN_WITH_LIMIT = 'ulimit "$1" "$2" && shift 2 && exec "$@"'


def run_with_limit(database: Database, limit: tuple[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the service under a limit of the shell's."""
    settings = {"database_url": database.url} | dict.fromkeys(LISTENERS, "127.0.0.1:0")
    command = ("/bin/sh", "-c", RUN_WITH_LIMIT, "sh", *limit, sys.executable, "-m", "mentorsync", *arguments)
    return subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", [("up",), ("up", "--separate"), ("gateway",), ("serve",)], ids=" ".join)
@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (("-n", "20"), "the system allows 20 open files (ulimit -n); at least 256 are needed"),
        (("-v", "500000"), "the system allows 500000 KiB of address space (ulimit -v); at least "),
    ],
    ids=["files", "addresses"],
)
def test_a_limit_that_is_too_low_is_one_line(
    database: Database, limit: tuple[str, str], message: str, arguments: tuple[str, ...]
) -> None:
    """The line names the limit, and what is needed."""
    refused = run_with_limit(database, limit, *arguments)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"mentorsync: {message}")
    assert refused.stdout == ""


def test_callers_are_served_again_once_there_are_file_descriptors(start_up: StartUp) -> None:
    """Connections use up all of Envoy's descriptors. Its own callers are served meanwhile, and newcomers afterwards."""
    up = start_up()
    envoy = up.parts[-1]
    with httpx.Client(base_url=up.url) as caller:
        assert caller.get(BASE).status_code == httpx.codes.OK
        open_files = len(list(Path(f"/proc/{envoy}/fd").iterdir()))
        _, most = resource.prlimit(envoy, resource.RLIMIT_NOFILE)
        resource.prlimit(envoy, resource.RLIMIT_NOFILE, (open_files + SPARE_FILES, most))
        address = urlsplit(up.url)
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                stack.enter_context(socket.create_connection((str(address.hostname), address.port or 80)))
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{up.url}/healthz", timeout=NO_ANSWER_SECONDS)
            assert caller.get(BASE).status_code == httpx.codes.OK
        wait_until(up.is_healthy, "an answer to a newcomer")
    assert not [message for message in up.messages() if "unexpectedly" in message]
