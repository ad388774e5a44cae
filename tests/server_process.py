"""`mentorsync serve` as a separate process, on free ports and with its own database."""

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.request import urlopen

from mentorsync.storage.migrator import migrate
from mentorsync.storage.sqlite.engine import SqliteEngine

WAIT_SECONDS = 60  # far longer than anything takes on a busy machine: a test fails instead of hanging
POLL_SECONDS = 0.01  # pause between two looks at another process


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mentorsync", *arguments]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment with these settings and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MENTORSYNC_")}
    return others | {f"MENTORSYNC_{name.upper()}": value for name, value in settings.items()}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def hold_port() -> socket.socket:
    """A socket that holds a free port, its name's, until it is closed: nobody else gets this port. A server may listen
    there, as often as it is started: servers set SO_REUSEADDR too.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def address_of(holder: socket.socket) -> str:
    return "{}:{}".format(*holder.getsockname())


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Waits until a condition holds for another process, and returns the condition's value."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, f"timed out while waiting for {what}"
        time.sleep(POLL_SECONDS)
    return result


class Database:
    """A SQLite file that the test uses without the server. `url` is the value for the setting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def migrate(self) -> None:
        engine = SqliteEngine(self.path)
        migrate(engine)
        engine.close()

    def connect(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.path, isolation_level=None))

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(sql).fetchall()


class WriteLock:
    """While it is held, no server can write: the batch that it takes from its queue waits."""

    def __init__(self, database: Database) -> None:
        self._connection = sqlite3.connect(database.path, isolation_level=None)

    def __enter__(self) -> Self:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def release(self) -> None:
        self._connection.execute("ROLLBACK")

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


class ServerProcess:
    """A server that is ready. `grpc` and `metrics` are the addresses that it reported.

    `arguments` start it instead of `mentorsync serve`, and `variables` are added to its environment.
    """

    def __init__(
        self,
        database: Database,
        log: Path,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.database = database
        self._log = log
        settings = {"database_url": database.url, "grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"}
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                arguments or command("serve"),
                env=environment(settings) | dict(variables),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.ready = self.read_ready()
        self.grpc = self.ready["grpc"]
        self.metrics = self.ready["metrics"]

    def read_ready(self) -> dict[str, str]:
        """Waits until the process reports its addresses, and returns them."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        ready: dict[str, str] = json.loads(line)
        return ready

    @property
    def pid(self) -> int:
        return self._process.pid

    def log_lines(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if not line.startswith("mentorsync: ")]  # the supervisor's own

    def call_line(self, request_id: str) -> dict[str, Any]:
        """Waits for the log line of a call, which has its method and code."""
        return self.wait_for_line(request_id, lambda line: line["event"] == "call")

    def wait_for_line(self, request_id: str, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        line: dict[str, Any] = wait_until(
            lambda: next(filter(is_wanted, self.lines_about(request_id)), None), f"a log line about {request_id}"
        )
        return line

    def lines_about(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.log_lines() if line.get("request_id") == request_id]

    def wait_until_refusing(self) -> None:
        """Waits until new connections are refused."""
        host, _, port = self.grpc.partition(":")

        def is_refusing() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == errno.ECONNREFUSED

        wait_until(is_refusing, "refused connections")

    def metric(self, sample: str) -> float | None:
        """The value of a sample, such as `name` or `name{label="value"}`."""
        with urlopen(f"http://{self.metrics}/metrics", timeout=WAIT_SECONDS) as response:
            lines = response.read().decode().splitlines()
        return next((float(line.removeprefix(f"{sample} ")) for line in lines if line.startswith(f"{sample} ")), None)

    def wait_for_queue(self, depth: int) -> None:
        """Waits until this number of writes is queued or being written."""
        wait_until(lambda: self.metric("mentorsync_write_queue_depth") == depth, f"{depth} writes in the queue")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits until the process has ended, and returns its exit status."""
        return self._process.wait(WAIT_SECONDS)

    def stop(self) -> int:
        """Asks the server to stop if it still runs, and returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()

    def end(self) -> int:
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
