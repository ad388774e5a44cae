"""Child processes: what a start that fails leaves behind and reports."""

import os
from argparse import Namespace
from pathlib import Path

import pytest
from mentorsync.config import resolve
from mentorsync.supervisor import server
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.part import PartError
from mentorsync.supervisor.relay import Relay


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_a_start_that_fails_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """The supervisor tries again every second, for as long as a part cannot be started."""
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        await Child.start((str(tmp_path / "missing"),), os.environ, Relay(list))
    assert open_descriptors() == before


async def test_a_server_that_is_killed_while_it_starts_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not log the cause itself: the kernel kills, for example, when there is no memory."""
    monkeypatch.setattr(server, "COMMAND", ("sh", "-c", "kill -KILL $$"))
    part = server.Server(resolve(Namespace(), server.SERVER_SETTINGS, {}), list, None)
    with pytest.raises(PartError, match="the server ended by SIGKILL") as raised:
        await part.start()
    assert raised.value.status == 1
