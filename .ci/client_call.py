"""Calls a service from an environment that has only what the client needs. The argument is the service's address."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from mentorstatus_client import EventType, MentorStatus, MentorStatusSyncClient


def main(address: str) -> None:
    installed = [name for name in ("peewee", "uvloop", "grpc_health", "envoy", "yaml", "psycopg") if find_spec(name)]
    assert not installed, f"the client does not need {installed}"
    assert "mentorsync" not in sys.modules
    with MentorStatusSyncClient(address) as client:
        submitted = client.submit_event("mntr_client", EventType.PAUSE)
        snapshot = client.get_mentor_status("mntr_client")
    assert snapshot.status is MentorStatus.PAUSED, snapshot
    assert [event.sync_event_id for event in snapshot.pending_events] == [submitted.sync_event_id], snapshot
    print("client: submitting and reading an event succeeded with the base packages alone")
    mentorsync = subprocess.run(  # noqa: S603 - the command under test
        [Path(sys.executable).with_name("mentorsync"), "up"], capture_output=True, text=True, check=False
    )
    assert mentorsync.returncode == 2, mentorsync  # noqa: PLR2004 - the status of a refusal
    assert "pip install 'mentor-status-sync[server,gateway]'" in mentorsync.stderr, mentorsync


if __name__ == "__main__":
    main(sys.argv[1])
