"""`buf curl`, a client of another make, which asks reflection for the messages. Both adapters answer it alike."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.grpc_client import CALL_SECONDS, SERVICE
from tests.server_process import ServerProcess

BUF = Path(sys.executable).with_name("buf")


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--emit-defaults", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)


def call(server: ServerProcess, method: str, **fields: Any) -> subprocess.CompletedProcess[str]:
    return curl("-d", json.dumps(fields), f"http://{server.grpc}/{SERVICE}/{method}")


def test_the_services_are_listed(server: ServerProcess) -> None:
    """By reflection."""
    listed = curl("--list-services", f"http://{server.grpc}")
    expected = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", SERVICE]
    assert listed.stdout.split() == expected


def test_an_event_is_submitted_and_listed(server: ServerProcess, mentor_id: str) -> None:
    """Without a proto file."""
    submitted = call(server, "SubmitEvent", mentor_id=mentor_id, event_type="PauseMentorEvent")
    assert json.loads(submitted.stdout)["accepted"] is True
    page = json.loads(call(server, "ListSyncEvents", mentor_id=mentor_id).stdout)
    assert page["pagination"] == {"page": 1, "limit": 20, "total": 1}
    assert page["data"][0]["syncEventId"] == json.loads(submitted.stdout)["syncEventId"]


@pytest.mark.parametrize(
    ("method", "fields", "code", "details"),
    [
        ("GetMentorStatus", {"mentor_id": "mntr_unknown"}, "not_found", ["ErrorInfo"]),
        ("SubmitEvent", {}, "invalid_argument", ["ErrorInfo", "BadRequest"]),
    ],
)
def test_an_error_has_its_details(
    server: ServerProcess, method: str, fields: dict[str, Any], code: str, details: list[str]
) -> None:
    """Code, message and details."""
    failed = call(server, method, **fields)
    error = json.loads(failed.stderr)
    assert failed.returncode
    assert error["code"] == code
    assert error["message"]
    assert [detail["type"] for detail in error["details"]] == [f"google.rpc.{name}" for name in details]


def test_the_service_is_healthy(server: ServerProcess) -> None:
    """Also by `buf curl`."""
    answer = curl("-d", json.dumps({"service": SERVICE}), f"http://{server.grpc}/grpc.health.v1.Health/Check")
    assert json.loads(answer.stdout) == {"status": "SERVING"}
