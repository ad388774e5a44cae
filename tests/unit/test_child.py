"""Child processes: a start that fails leaves nothing behind."""

import os
from pathlib import Path

import pytest
from mentorsync.supervisor.child import Child
from mentorsync.supervisor.relay import Relay


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_a_start_that_fails_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """The supervisor tries again every second, for as long as a part cannot be started."""
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        await Child.start((str(tmp_path / "missing"),), os.environ, Relay(list))
    assert open_descriptors() == before
