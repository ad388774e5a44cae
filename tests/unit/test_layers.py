"""Which module may import which."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "mentorsync"
GATEWAY = ROOT / "gateway" / "mentorsync_gateway"
CLIENT = ROOT / "client" / "mentorstatus_client"
GENERATED = ROOT / "generated" / "mentorstatus"
MESSAGES = {"mentorstatus.v1", "google"}
# Folder or module: what it may import in addition to the standard library.
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
    SERVER / "feed": MESSAGES
    | {
        "mentorsync.domain",
        "mentorsync.feed",
        "mentorsync.published",
        "mentorsync.storage",
        "mentorsync.time_limits",
        "prometheus_client",
    },
    SERVER / "rpc": MESSAGES
    | {
        "mentorsync.domain",
        "mentorsync.feed",
        "mentorsync.published",
        "mentorsync.storage",
        "mentorsync.rpc",
        "mentorsync.logs",
        "mentorsync.metrics",
        "mentorsync.time_limits",
        "grpc",
        "grpc_health",
        "grpc_reflection",
    },
    SERVER / "tracing": {
        "google.rpc",
        "mentorsync.__version__",
        "mentorsync.config",
        "mentorsync.rpc",
        "mentorsync.storage",
        "mentorsync.time_limits",
        "mentorsync.tracing",
        "opentelemetry",
    },
    SERVER / "simulate": {"mentorsync.simulate", "httpx", "rich"},
    SERVER / "supervisor": {
        "mentorsync.config",
        "mentorsync.dropped_lines",
        "mentorsync.exposed_addresses",
        "mentorsync.kinds",
        "mentorsync.log_text",
        "mentorsync.logs",
        "mentorsync.storage.urls",
        "mentorsync.supervisor",
        "mentorsync.time_limits",
        "mentorsync_gateway",
        "envoy",
    },
    SERVER / "arguments.py": {"mentorsync.config", "mentorsync.kinds"},
    SERVER / "config.py": {"mentorsync.kinds"},
    SERVER / "dropped_lines.py": set(),
    SERVER / "exposed_addresses.py": {"mentorsync.config", "mentorsync.kinds"},
    SERVER / "extras.py": {"mentorsync.config"},
    SERVER / "kinds.py": {"mentorsync.storage.urls"},
    SERVER / "log_text.py": set(),
    SERVER / "logs.py": {"mentorsync.log_text", "mentorsync.time_limits"},
    SERVER / "metrics.py": {"prometheus_client", "mentorsync.feed", "mentorsync.storage.store"},
    SERVER / "metrics_server.py": {"prometheus_client"},
    SERVER / "parts.py": set(),
    SERVER / "published.py": MESSAGES | {"mentorsync.storage"},
    SERVER / "runtime.py": set(),
    SERVER / "security_files.py": {"mentorsync.config"},
    SERVER / "system_limits.py": {"mentorsync.config"},
    SERVER / "time_limits.py": set(),
    GATEWAY: {"mentorsync_gateway", "mentorstatus", "google", "yaml", "envoy", "find_libpython"},
    CLIENT: MESSAGES | {"mentorstatus_client", "grpc"},
    GENERATED: MESSAGES | {"grpc"},
    ROOT / "tools": {"tools", "mentorsync", "google", "yaml"},
}
# The composition root. Its modules may import every layer.
ROOT_MODULES = {"__init__.py", "__main__.py", "app.py", "cli.py", "embedded.py", "hosted.py", "service_thread.py"}
TRANSPORTS = {"credentials.py", "grpcio.py", "grpcio_server.py", "health.py"}  # the modules of rpc that know grpcio


def modules(place: Path) -> list[Path]:
    """A module itself, or all modules of a folder. There must be some, or a test of them would test nothing."""
    found = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    assert any(module.stat().st_size for module in found), f"{place} has no modules"
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def importers(place: Path, *packages: str) -> set[Path]:
    """The modules in a place that import one of the packages."""
    return {path for path in modules(place) for name in imports(path) if within(name, set(packages))}


@pytest.mark.parametrize("place", ALLOWED, ids=lambda place: str(place.relative_to(ROOT)))
def test_modules_import_only_what_their_layer_may(place: Path) -> None:
    """The domain imports nothing, storage the domain, rpc both, and the gateway nothing of the server."""
    allowed = ALLOWED[place] | set(sys.stdlib_module_names)
    wrong = [(path.name, name) for path in modules(place) for name in imports(path) if not within(name, allowed)]
    assert not wrong


def test_every_module_of_the_server_has_a_layer() -> None:
    """A new package needs a row in the table above."""
    places = {path for path in SERVER.iterdir() if path.suffix == ".py" or modules_in(path)}
    assert places == {place for place in ALLOWED if place.parent == SERVER} | {SERVER / name for name in ROOT_MODULES}


def modules_in(path: Path) -> bool:
    return path.is_dir() and any(path.rglob("*.py"))


@pytest.mark.parametrize(("engine", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_the_engines_do_not_know_each_other(engine: str, other: str) -> None:
    """In the rest of storage, only engine.py imports an engine: it opens the one that the URL names."""
    assert not importers(SERVER / "storage" / engine, f"mentorsync.storage.{other}")
    users = importers(SERVER / "storage", f"mentorsync.storage.{engine}")
    assert {path for path in users if path.parent.name != engine} == {SERVER / "storage" / "engine.py"}


def test_only_the_postgres_engine_needs_psycopg() -> None:
    """Psycopg is an extra, so nothing else may need it."""
    users = {path.parent for path in importers(SERVER, "psycopg")}
    assert users == {SERVER / "storage" / "postgres"}


def test_only_the_tracing_needs_opentelemetry() -> None:
    """OpenTelemetry is an extra, so nothing else may need it."""
    users = {path.parent for path in importers(SERVER, "opentelemetry")}
    assert users == {SERVER / "tracing"}


def test_the_calls_do_not_know_their_transport() -> None:
    """Only the adapter to grpcio, its server with its credentials, and its health service import grpcio."""
    assert {path.name for path in importers(SERVER / "rpc", "grpc", "grpc_health", "grpc_reflection")} == TRANSPORTS


def test_only_the_supervisor_knows_the_gateway() -> None:
    """Nothing else imports the gateway."""
    users = {path.relative_to(SERVER).parts[0] for path in importers(SERVER, "mentorsync_gateway")}
    assert users == {"supervisor"}
