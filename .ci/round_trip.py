"""Starts `mentorsync up` from the environment that runs this script, submits an event over REST and reads it back.

The arguments are a command, which then calls the service over gRPC: the address is added to it.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

PATH = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
PAGES = ("/docs", "/rapidoc.js", "/openapi.yaml", "/console", "/console/feed.js")  # files of the wheel
FREE_PORTS = {f"MENTORSYNC_{name}_ADDRESS": "127.0.0.1:0" for name in ("GRPC", "REST", "METRICS", "GATEWAY_ADMIN")}


def main() -> None:
    up = subprocess.Popen(  # noqa: S603 - the command under test
        [Path(sys.executable).with_name("mentorsync"), "up"],
        env=os.environ | FREE_PORTS,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        addresses = announced_addresses(up)
        base = addresses["REST"]
        event = {"event_type": "PauseMentorEvent", "mentor_id": "mntr_wheel"}
        post = urllib.request.Request(  # noqa: S310 - an HTTP URL
            f"{base}{PATH}/events", json.dumps(event).encode(), {"content-type": "application/json"}
        )
        submitted = answer(post)
        snapshot = answer(urllib.request.Request(f"{base}{PATH}/mntr_wheel"))  # noqa: S310 - an HTTP URL
        assert snapshot["pending_events"][0]["sync_event_id"] == submitted["sync_event_id"], snapshot
        assert snapshot["status"] == "paused", snapshot
        subprocess.run([*sys.argv[1:], addresses["gRPC"]], check=True)  # noqa: S603 - the command under test
        for page in PAGES:
            urllib.request.urlopen(f"{base}{page}", timeout=10).close()  # noqa: S310 - an HTTP URL; raises if not 200
    finally:
        up.send_signal(signal.SIGINT)
        status = up.wait(timeout=30)
    if status:
        sys.exit(f"mentorsync up ended with status {status}")
    print("wheel: submitting and reading an event succeeded outside the checkout")


def announced_addresses(up: "subprocess.Popen[str]") -> dict[str, str]:
    assert up.stdout
    addresses: dict[str, str] = {}
    for line in up.stdout:
        print(line, end="")
        label, _, value = line.strip().partition(" ")
        addresses[label] = value.strip()
        if addresses.keys() >= {"REST", "gRPC"}:
            return addresses
    sys.exit(f"mentorsync up ended with status {up.wait()} before it was ready")


def answer(request: urllib.request.Request) -> dict[str, object]:
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - an HTTP URL
        body: dict[str, object] = json.load(response)
        return body


if __name__ == "__main__":
    main()
