"""The commands as real processes: what they refuse, what they print, and which files they leave."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync import __version__

from tests.grpc_client import CALL_SECONDS, Connect, submit
from tests.server_process import WAIT_SECONDS, Database, ServerProcess, command, environment
from tests.up_process import UpProcess

MENTOR_ID = "mntr_01HX4V2K8P"


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, and waits for its end."""
    settings = {"grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"} | settings
    return subprocess.run(
        command(*arguments),
        env=environment(settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def refusal(finished: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a command reports why it could not start."""
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("mentorsync: ")
    return line


def test_the_command_is_installed(tmp_path: Path) -> None:
    """`mentorsync --version` runs as an installed program."""
    script = Path(command()[0]).with_name("mentorsync")
    finished = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stdout == f"mentorsync {__version__}\n"


def test_help_needs_no_database(tmp_path: Path) -> None:
    """`serve --help` prints the help and creates no file."""
    finished = run(tmp_path, "serve", "--help")
    assert finished.returncode == 0
    assert "MENTORSYNC_DATABASE_URL" in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_thread_of_a_server_runs_under_sched_batch(start_server: Callable[[], ServerProcess]) -> None:
    """A thread that wakes another one keeps running, which saves switches between threads."""
    server = start_server()
    assert server.ready
    threads = [int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}


def test_a_server_on_sqlite_does_not_load_psycopg(start_server: Callable[[], ServerProcess]) -> None:
    """Psycopg would need a quarter of the server's memory."""
    assert "psycopg" not in Path(f"/proc/{start_server().pid}/maps").read_text()


def test_the_one_process_mode_on_sqlite_does_not_load_psycopg(database: Database, tmp_path: Path) -> None:
    """Envoy imports the application, and with it Peewee, before the application starts."""
    up = UpProcess(database, tmp_path / "up.log", ())
    try:
        (envoy,) = up.parts
        assert "psycopg" not in Path(f"/proc/{envoy}/maps").read_text()
    finally:
        up.kill()


def test_a_ready_server_prints_its_addresses(start_server: Callable[[], ServerProcess], database: Database) -> None:
    """One line of JSON, with the real ports in place of 0."""
    ready = start_server().ready
    assert ready.keys() == {"event", "grpc", "metrics", "database"}
    assert (ready["event"], ready["database"]) == ("ready", database.url)
    for address in (ready["grpc"], ready["metrics"]):
        host, _, port = address.partition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


@pytest.mark.parametrize("setting", ["grpc_address", "metrics_address"])
def test_the_message_for_a_port_in_use_names_it(database: Database, tmp_path: Path, setting: str) -> None:
    """It has the setting and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refusal(run(tmp_path, "serve", database_url=database.url, **{setting: address}))
    assert f"MENTORSYNC_{setting.upper()} {address} is taken by another process" in line


@pytest.mark.parametrize("command", ["serve", "up"])
def test_the_message_for_ports_in_use_names_all_of_them(database: Database, tmp_path: Path, command: str) -> None:
    """So that one correction is enough."""
    with socket.create_server(("127.0.0.1", 0)) as grpc, socket.create_server(("127.0.0.1", 0)) as metrics:
        taken = {
            name: f"127.0.0.1:{listener.getsockname()[1]}"
            for name, listener in {"grpc_address": grpc, "metrics_address": metrics}.items()
        }
        others = dict.fromkeys(("rest_address", "gateway_admin_address"), "127.0.0.1:0") if command == "up" else {}
        line = refusal(run(tmp_path, command, database_url=database.url, **taken, **others))
    assert all(f"MENTORSYNC_{name.upper()} {address} is taken" in line for name, address in taken.items())


def test_two_servers_never_share_a_port(start_server: Callable[[], ServerProcess], tmp_path: Path) -> None:
    """The second server reports that the port is in use."""
    other = Database(tmp_path / "other.db")
    other.migrate()
    address = start_server().grpc
    line = refusal(run(tmp_path, "serve", database_url=other.url, grpc_address=address))
    assert f"MENTORSYNC_GRPC_ADDRESS {address} is taken by another process" in line


def test_a_second_server_on_the_file_is_refused(
    start_server: Callable[[], ServerProcess], database: Database, tmp_path: Path
) -> None:
    """The first keeps running. After its end, even by kill -9, another server may start."""
    first = start_server()
    line = refusal(run(tmp_path, "serve", database_url=database.url))
    assert "another server is running on the database file" in line
    first.kill()
    assert start_server().stop() == 0


def test_a_database_without_a_schema_is_refused(tmp_path: Path) -> None:
    """The message names the command to run."""
    line = refusal(run(tmp_path, "serve", database_url="sqlite:///new.db"))
    assert "run `mentorsync migrate` first" in line


@pytest.mark.parametrize("name", ["serve", "migrate", "purge"])
def test_a_database_of_a_newer_version_is_refused_unchanged(database: Database, tmp_path: Path, name: str) -> None:
    """No command changes it."""
    database.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_newer', '2030-01-01')")
    before = database.execute("SELECT * FROM sqlite_master"), database.execute("SELECT * FROM schema_migration")
    line = refusal(run(tmp_path, name, database_url=database.url))
    assert "newer version of mentorsync (9999_newer)" in line
    after = database.execute("SELECT * FROM sqlite_master"), database.execute("SELECT * FROM schema_migration")
    assert after == before


def test_a_file_that_is_not_a_database_is_refused_unchanged(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, not a database.\n" * 100)
    before = path.read_bytes()
    line = refusal(run(tmp_path, "serve", database_url=f"sqlite:///{path}"))
    assert f"the database file {path} cannot be opened" in line
    assert path.read_bytes() == before


def test_an_invalid_setting_is_refused_first(tmp_path: Path) -> None:
    """The message has the variable and the flag, and no file is created."""
    line = refusal(run(tmp_path, "serve", grpc_address="nowhere"))
    assert "MENTORSYNC_GRPC_ADDRESS (or --grpc-address) must be host:port" in line
    assert list(tmp_path.iterdir()) == []


def test_migrate_reports_what_it_applied(tmp_path: Path) -> None:
    """The first run applies the missing migrations, and the second run none."""
    first = run(tmp_path, "migrate", database_url="sqlite:///a.db")
    second = run(tmp_path, "migrate", "--database-url", "sqlite:///a.db")
    path = tmp_path / "a.db"
    assert first.returncode == 0
    assert first.stdout.splitlines() == [
        f"sqlite:///{path}: created {path}",
        f"sqlite:///{path}: applied 0001_initial, 0002_heads, 0003_history",
    ]
    assert (second.returncode, second.stdout) == (0, f"sqlite:///{path}: the schema is up to date\n")


async def test_purge_runs_while_a_server_serves(
    start_server: Callable[[], ServerProcess], connect: Connect, database: Database, tmp_path: Path
) -> None:
    """It removes old events and reports their number. Pending events and recent changes stay."""
    async with connect(start_server().grpc) as channel:
        stub = MentorStatusSyncStub(channel)
        for _ in range(3):
            event = await stub.SubmitEvent(submit(MENTOR_ID), timeout=CALL_SECONDS)
        await stub.DeleteEvent(pb.DeleteEventRequest(sync_event_id=event.sync_event_id), timeout=CALL_SECONDS)
        young = run(tmp_path, "purge", database_url=database.url)
        assert (young.returncode, young.stdout) == (0, f"{database.url}: removed 0 events\n")
        old = run(tmp_path, "purge", "--older-than", "0s", database_url=database.url)
        assert (old.returncode, old.stdout, old.stderr) == (0, f"{database.url}: removed 1 events\n", "")
        page = await stub.ListSyncEvents(pb.ListSyncEventsRequest(), timeout=CALL_SECONDS)
        assert page.pagination.total == 2
    assert database.execute("SELECT COUNT(*) FROM events") == [(2,)]


def test_an_idle_server_stops_at_once(start_server: Callable[[], ServerProcess], database: Database) -> None:
    """Its status is 0, and all data is in the one database file."""
    server = start_server()
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    assert [line["event"] for line in server.log_lines()][-1] == "stopped"
    assert not database.path.with_name(f"{database.path.name}-wal").exists()
