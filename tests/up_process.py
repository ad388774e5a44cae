"""`mentorsync up` as a process of its own, on free ports and a database of its own."""

import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import httpx

from tests.server_process import WAIT_SECONDS, Database, ServerProcess, children, command, environment, wait_until

LISTENERS = ("grpc_address", "rest_address", "metrics_address", "gateway_admin_address")
LAST_LINE = "Ctrl-C"
PREFIX = "mentorsync: "
CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of InvalidArgument


class UpProcess:
    """Serves once `announced` is filled, which the constructor waits for. `settings` replace free ports.

    `stderr` takes the log in place of the file `log`.
    """

    def __init__(
        self, database: Database, log: Path, flags: Sequence[str], *, stderr: int | None = None, **settings: str
    ) -> None:
        self.log = log
        self.database = database
        given = {"database_url": database.url} | dict.fromkeys(LISTENERS, "127.0.0.1:0") | settings
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command("up", *flags),
                env=environment(given),
                stdout=subprocess.PIPE,
                stderr=file if stderr is None else stderr,
                text=True,
            )
        assert self._process.stdout
        self.announced = read_announcement(self._process.stdout)

    @property
    def url(self) -> str:
        """Where REST is served."""
        return self.announced["REST"]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def parts(self) -> list[int]:
        """The processes that it runs."""
        return children(self._process.pid)

    def logged(self) -> str:
        """All that it wrote on standard error."""
        return self.log.read_text()

    def messages(self) -> list[str]:
        """What it reported in its own name."""
        return [line.removeprefix(PREFIX) for line in self.logged().splitlines() if line.startswith(PREFIX)]

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = httpx.get(self.announced["metrics"]).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def wait_until_unready(self) -> None:
        wait_until(lambda: not self.is_healthy(), "the start of the drain")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        """Asks it to stop, and returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        """Waits for the end and returns the exit status."""
        try:
            return self._process.wait(WAIT_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()


class EmbeddedServer(ServerProcess):
    """`mentorsync up` as a server for gRPC: the service inside Envoy, behind Envoy's listener."""

    def __init__(self, database: Database, log: Path) -> None:
        addresses = {f"MENTORSYNC_{name}_ADDRESS": "127.0.0.1:0" for name in ("REST", "GATEWAY_ADMIN")}
        super().__init__(database, log, command("up"), addresses)

    def read_ready(self) -> dict[str, str]:
        assert self._process.stdout
        announced = read_announcement(self._process.stdout)
        assert announced, self._log.read_text()
        metrics = announced["metrics"].removeprefix("http://").removesuffix("/metrics")
        return {"grpc": announced["gRPC"], "metrics": metrics}

    def call_line(self, request_id: str) -> dict[str, Any]:
        """The gateway's line, with the method and code as the service would write them.

        If the caller gave up, the code is Envoy's flag of that, DR.
        """
        line = super().call_line(request_id)
        status = line.pop("grpc_status")
        code = CAPITAL.sub("_", status).upper() if status else line["flags"]
        return line | {"method": line["path"].rpartition("/")[2], "code": code}


def read_announcement(stdout: IO[str]) -> dict[str, str]:
    """What `up` printed, by label, up to its last line or to its early end."""
    announced: dict[str, str] = {}
    for line in stdout:
        if line.startswith(LAST_LINE):
            break
        label, _, value = line.strip().partition(" ")
        announced[label] = value.strip()
    return announced


def wait_until_gone(pids: Sequence[int]) -> None:
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"the end of {pids}")
