"""Limits of the system that are too low for a start: one line with the cause, in both modes."""

import subprocess
import sys

import pytest

from tests.server_process import Database, environment
from tests.up_process import LISTENERS

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
