"""PostgreSQL servers that Patroni manages: when the primary is lost, a standby that lost nothing takes over.

Patroni keeps its state in a Raft log of its own, so that it needs no other service. Its settings are described at
https://patroni.readthedocs.io/en/latest/yaml_configuration.html
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.dying_with import dying_with_us
from tests.postgres_server import SETTINGS, binaries, free_port, kill, server_directory, server_user
from tests.server_process import children

PROGRAM = Path(__file__).parents[2] / ".venv-failover" / "bin" / "patroni"
NODES = 3  # Raft needs a majority when one is lost
POLL_SECONDS = 0.05
START_SECONDS = 120  # to bootstrap, to follow a new primary, or to copy it anew
LOG_CHARACTERS = 2_000  # of a Patroni that ended
HOST = "127.0.0.1"
DYNAMIC = {  # settings of the cluster
    "ttl": 20,  # until a primary that is silent has lost its lease: the least that Patroni allows
    "loop_wait": 1,
    "retry_timeout": 3,
    "synchronous_mode": True,  # only a standby that has every answered COMMIT may take over
    "postgresql": {"parameters": {"max_connections": 60}},
}


class Node:
    """One Patroni with its PostgreSQL."""

    def __init__(self, directory: Path, name: str, raft: str, partners: Sequence[str]) -> None:
        self.name = name
        self.port = free_port()
        self._data = directory / name
        self._log = directory / f"{name}.log"
        self._configuration = directory / f"{name}.yml"
        self._rest = f"{HOST}:{free_port()}"
        self._configuration.write_text(json.dumps(self._settings(directory, raft, partners)))  # JSON is YAML too
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = dying_with_us([str(PROGRAM), str(self._configuration)], server_user())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._configuration.parent)

    def kill(self) -> None:
        """Kills Patroni and PostgreSQL at once, like the loss of the machine."""
        assert self._process
        self._process.kill()
        with suppress(OSError, ValueError):
            postmaster = int((self._data / "postmaster.pid").read_text().split(maxsplit=1)[0])
            for pid in (*children(postmaster), postmaster):
                kill(pid, signal.SIGKILL)
        self._process.wait()

    def check(self) -> None:
        """Raises AssertionError, with the end of the log, if Patroni ended."""
        assert self._process
        assert self._process.poll() is None, self._log.read_text()[-LOG_CHARACTERS:]

    def members(self) -> list[dict[str, Any]]:
        """What this node knows about all nodes."""
        try:
            members: list[dict[str, Any]] = httpx.get(f"http://{self._rest}/cluster", timeout=5).json()["members"]
        except (httpx.TransportError, KeyError):
            return []
        return members

    def _settings(self, directory: Path, raft: str, partners: Sequence[str]) -> dict[str, Any]:
        postgres = f"{HOST}:{self.port}"
        return {
            "scope": "mentorsync",
            "name": self.name,
            "restapi": {"listen": self._rest, "connect_address": self._rest},
            "raft": {"data_dir": str(directory / f"{self.name}-raft"), "self_addr": raft, "partner_addrs": partners},
            "bootstrap": {"dcs": DYNAMIC, "initdb": ["no-sync", {"encoding": "UTF8"}]},
            "postgresql": {
                "listen": postgres,
                "connect_address": postgres,
                "data_dir": str(self._data),
                "bin_dir": str(binaries(directory)),
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
                "pgpass": str(directory / f"{self.name}.pgpass"),
                "pg_hba": [f"host {database} all {HOST}/32 trust" for database in ("all", "replication")],
                "parameters": {
                    name: value
                    for name, value in SETTINGS.items()
                    if name not in ("listen_addresses", "max_connections")
                },
                # A primary that was lost may have written what no standby has. It is copied anew.
                "remove_data_directory_on_diverged_timelines": True,
                "remove_data_directory_on_rewind_failure": True,
            },
        }


class Cluster:
    """Nodes of which one is the primary, and one a synchronous standby."""

    def __init__(self, directory: Path) -> None:
        addresses = [f"{HOST}:{free_port()}" for _ in range(NODES)]
        self.nodes = [
            Node(directory, f"node{number}", raft, [other for other in addresses if other != raft])
            for number, raft in enumerate(addresses)
        ]

    def url(self, database: str) -> str:
        """Names all nodes, and connects to the one that is the primary."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"

    def wait_for_synchronous_standby(self) -> Node:
        """Waits until all nodes are well and one of them is a synchronous standby, and returns the primary."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            members = max((node.members() for node in self.nodes), key=len)
            states = sorted((member["role"], member["state"]) for member in members)
            if [role for role, _ in states] == ["leader", "replica", "sync_standby"] and all(
                state in ("running", "streaming") for _, state in states
            ):
                leader = next(member["name"] for member in members if member["role"] == "leader")
                return next(node for node in self.nodes if node.name == leader)
            for node in self.nodes:
                node.check()
            assert time.monotonic() < deadline, members
            time.sleep(POLL_SECONDS)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    with server_directory() as directory:
        cluster = Cluster(directory)
        try:
            for node in cluster.nodes:
                node.start()
            yield cluster
        finally:
            for node in cluster.nodes:
                node.kill()
