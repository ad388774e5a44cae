"""Log lines of `mentorsync up` and `mentorsync serve`: a reader that is slow, or never reads, holds nothing up."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
import httpx
import pytest

from tests.contract import BASE
from tests.faults.conftest import StartUp
from tests.grpc_client import SERVICE, submit
from tests.server_process import WAIT_SECONDS, Database, WriteLock, command, environment, hold_port, wait_until
from tests.up_process import LISTENERS, PREFIX, EmbeddedServer, UpProcess

READERS = 4
DROPPED = "mentorsync_log_lines_dropped_total"
LEAST_PIPE_BYTES = 4096


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end of a full pipe that is written to. Nobody reads from the other end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, LEAST_PIPE_BYTES)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


def test_a_signal_stops_it_while_nobody_reads_the_log(start_up: StartUp, full_pipe: int) -> None:
    """Requests are answered meanwhile, and the stop is in order."""
    up = start_up(stderr=full_pipe)
    for _ in range(10):
        assert httpx.get(up.url + BASE).status_code == httpx.codes.OK
    up.signal(signal.SIGTERM)
    assert up.end() == 0


def test_a_signal_stops_it_while_nobody_reads_its_output(
    up_flags: tuple[str, ...], database: Database, tmp_path: Path, full_pipe: int, free_port: int
) -> None:
    """It serves, although it cannot print its addresses."""
    settings = dict.fromkeys(LISTENERS, "127.0.0.1:0") | {"rest_address": f"127.0.0.1:{free_port}"}
    with (
        (tmp_path / "up.log").open("wb") as log,
        subprocess.Popen(
            command("up", *up_flags),
            env=environment(settings | {"database_url": database.url}),
            stdout=full_pipe,
            stderr=log,
        ) as process,
    ):
        try:
            wait_until(lambda: is_healthy(free_port), "a healthy service")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()


def test_a_log_whose_reader_has_ended_stops_nothing(start_up: StartUp) -> None:
    """Each line is lost, requests are answered, and the stop is in order."""
    reading, writing = os.pipe()
    up = start_up(stderr=writing)
    os.close(writing)
    os.close(reading)
    for _ in range(10):
        assert httpx.get(up.url + BASE).status_code == httpx.codes.OK
    up.signal(signal.SIGTERM)
    assert up.end() == 0


def test_a_server_alone_ends_while_nobody_reads_its_log(database: Database, full_pipe: int) -> None:
    """Its last lines do not hold up the end."""
    settings = {"database_url": database.url, "grpc_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"}
    with subprocess.Popen(
        command("serve"), env=environment(settings), stdout=subprocess.PIPE, stderr=full_pipe
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()


def test_lines_stay_whole_with_a_slow_reader_and_dropped_ones_are_counted(start_up: StartUp) -> None:
    """Two processes log under load while nobody reads, until lines are dropped. Then all is read: no line is torn."""
    reading, writing = os.pipe()
    up = start_up(stderr=writing)
    os.close(writing)
    load_until_lines_are_dropped(up)
    log: list[bytes] = []
    reader = Thread(target=read_lines, args=(reading, log))
    reader.start()
    wait_until(lambda: httpx.get(up.url + BASE).status_code == httpx.codes.OK, "an answer")
    dropped = up.metric(DROPPED)
    up.signal(signal.SIGTERM)
    assert up.end() == 0
    reader.join()
    events = [json.loads(line)["event"] for line in log if not line.startswith(PREFIX.encode())]
    reported = sum(int(event.split()[0]) for event in events if event.endswith(" log lines dropped"))
    assert 0 < dropped <= reported


def test_the_log_on_a_terminal_is_text_for_people(start_up: StartUp) -> None:
    """The log shows the caller's request, and neither the probe of the start nor a warning about a normal stop."""
    controller, terminal = pty.openpty()
    up = start_up(stderr=terminal)
    os.close(terminal)
    shown = bytearray()
    reader = Thread(target=read_terminal, args=(controller, shown))
    reader.start()
    httpx.get(up.url + BASE, headers={"x-request-id": "mine"})
    up.signal(signal.SIGTERM)
    assert up.end() == 0
    reader.join()
    requests = [line for line in shown.decode().splitlines() if "GET" in line]
    assert len(requests) == 1
    assert re.search(rf"[0-9:.]{{12}}\S* info +GET {BASE} 200 \d+ ms", requests[0])
    assert b"ENVOY_SIGTERM" not in shown
    assert b'{"' not in shown


def read_terminal(descriptor: int, shown: bytearray) -> None:
    """Reads until the last process that has the terminal open ends."""
    with os.fdopen(descriptor, "rb", buffering=0) as file, suppress(OSError):
        while chunk := file.read(65_536):
            shown.extend(chunk)


def test_the_readiness_probe_is_not_in_the_log(start_up: StartUp, tmp_path: Path) -> None:
    """The log has the requests of callers alone, and nothing about a normal stop that looks like a fault."""
    up = start_up()
    httpx.get(up.url + BASE, headers={"x-request-id": "mine"})
    up.signal(signal.SIGTERM)
    assert up.end() == 0
    (log,) = tmp_path.glob("*.log")
    lines = [json.loads(line) for line in log.read_text().splitlines() if not line.startswith(PREFIX)]
    assert {line["request_id"] for line in lines if "request_id" in line} == {"mine"}
    assert not [line for line in lines if line["level"] == "warning"]


def test_the_outcome_of_a_write_is_logged_if_its_caller_hangs_up(database: Database, tmp_path: Path) -> None:
    """By the service: in the one-process mode, the gateway knows only that the caller hung up."""
    server = EmbeddedServer(database, tmp_path / "up.log")
    try:
        with grpc.insecure_channel(server.grpc) as channel, WriteLock(database) as lock:
            submitting: Any = channel.unary_unary(f"/{SERVICE}/SubmitEvent")
            call = submitting.future(submit("mntr_1").SerializeToString(), metadata=(("x-request-id", "mine"),))
            server.wait_for_queue(1)
            call.cancel()
            server.call_line("mine")
            lock.release()
            line = server.wait_for_line("mine", lambda line: line["event"] == "caller disconnected")
    finally:
        server.kill()
    assert (line["method"], line["code"]) == ("SubmitEvent", "OK")


def test_headers_that_are_not_utf_8_leave_no_line(start_up: StartUp, tmp_path: Path) -> None:
    """Else any caller could fill the log, and put text into it."""
    up = start_up()
    for path in (BASE, f"{BASE}/watch?max_seconds=1"):
        headers = [(b"x-request-id", b"mine"), (b"x-other", b"secret \xff")]
        assert httpx.get(up.url + path, headers=headers).status_code == httpx.codes.OK
    assert up.stop() == 0
    (log,) = tmp_path.glob("*.log")
    assert "secret" not in log.read_text()


def read_lines(descriptor: int, lines: list[bytes]) -> None:
    with os.fdopen(descriptor, "rb") as file:
        lines.extend(file)


def load_until_lines_are_dropped(up: UpProcess) -> None:
    is_over = Event()

    def load(_index: int) -> None:
        with httpx.Client(base_url=up.url) as client:
            while not is_over.is_set():
                client.get(f"{BASE}/mntr_01HX4V2K8P", headers={"user-agent": "x" * 8_000})

    with ThreadPoolExecutor(READERS) as pool:
        loads = [pool.submit(load, index) for index in range(READERS)]
        try:
            wait_until(lambda: up.metric(DROPPED), "dropped lines")
        finally:
            is_over.set()
        for each in loads:
            each.result()


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture
def free_port() -> Iterator[int]:
    with hold_port() as holder:
        yield holder.getsockname()[1]
