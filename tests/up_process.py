"""`mentorsync up` as a process of its own, on free ports and a database of its own."""

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.server_process import WAIT_SECONDS, Database, command, environment, wait_until

LISTENERS = ("grpc_address", "rest_address", "metrics_address", "gateway_admin_address")
LAST_LINE = "Ctrl-C"


class UpProcess:
    """Started when made, and ready once `url` is asked for. `settings` go over free ports."""

    def __init__(self, database: Database, log: Path, flags: Sequence[str], **settings: str) -> None:
        self._log = log
        given = {"database_url": database.url} | dict.fromkeys(LISTENERS, "127.0.0.1:0") | settings
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command("up", *flags), env=environment(given), stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        self.told = self._told()

    @property
    def url(self) -> str:
        """Where REST is served."""
        return self.told["REST"]

    @property
    def parts(self) -> list[int]:
        """The processes that it runs."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def messages(self) -> list[str]:
        """What it said in its own name."""
        prefix = "mentorsync: "
        return [line.removeprefix(prefix) for line in self._log.read_text().splitlines() if line.startswith(prefix)]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

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

    def _told(self) -> dict[str, str]:
        """What it printed up to its last line, or to its early end."""
        assert self._process.stdout
        told: dict[str, str] = {}
        for line in self._process.stdout:
            if line.startswith(LAST_LINE):
                break
            label, _, value = line.strip().partition(" ")
            told[label] = value.strip()
        return told


def wait_until_gone(pids: Sequence[int]) -> None:
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"the end of {pids}")
