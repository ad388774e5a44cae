"""Who may import whom."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "mentorsync"
GATEWAY = ROOT / "gateway" / "mentorsync_gateway"
STUBS = {"mentorstatus", "google", "grpc", "grpc_health"}
# Folder: what its modules may import beside the standard library.
ALLOWED = {
    SERVER / "domain": {"mentorsync.domain"},
    SERVER / "storage": {
        "mentorsync.domain",
        "mentorsync.storage",
        "mentorsync.time_limits",
        "peewee",
        "playhouse",
        "psycopg",
    },
    SERVER / "rpc": {
        "mentorsync.domain",
        "mentorsync.storage",
        "mentorsync.rpc",
        "mentorsync.logs",
        "mentorsync.metrics",
        "mentorsync.time_limits",
    }
    | STUBS,
    GATEWAY: {"mentorsync_gateway", "mentorstatus", "google", "yaml", "envoy", "find_libpython"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("folder", ALLOWED, ids=lambda folder: folder.name)
def test_modules_import_only_what_their_layer_may(folder: Path) -> None:
    """Domain knows nothing, storage the domain, rpc both, and the gateway nothing of the server."""
    allowed = ALLOWED[folder] | set(sys.stdlib_module_names)
    wrong = [(path.name, name) for path in folder.rglob("*.py") for name in imports(path) if not within(name, allowed)]
    assert not wrong


def test_only_the_postgres_engine_needs_psycopg() -> None:
    """Psycopg is an extra: nothing else may need it."""
    users = {path.parent for path in SERVER.rglob("*.py") for name in imports(path) if within(name, {"psycopg"})}
    assert users == {SERVER / "storage" / "postgres"}


def test_only_the_commands_know_the_gateway() -> None:
    """Nothing imports the gateway but the command line and the supervisor."""
    users = {
        path.name for path in SERVER.rglob("*.py") for name in imports(path) if within(name, {"mentorsync_gateway"})
    }
    assert users <= {"cli.py", "server_process.py", "up.py"}
