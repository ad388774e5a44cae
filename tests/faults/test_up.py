"""`mentorsync up` as a whole, in both modes: listeners, retries, and parts that are killed."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from tests.contract import BASE
from tests.faults.conftest import StartUp
from tests.grpc_client import SERVICE
from tests.server_process import Database, WriteLock, address_of, command, environment, hold_port, wait_until
from tests.up_process import LISTENERS, UpProcess, read_announcement, wait_until_gone

MENTOR_ID = "mntr_01HX4V2K8P"
CALL_SECONDS = 20
STREAMS = 8
ANSWERS_BEFORE_KILL = 100


def submit(client: httpx.Client, name: str) -> httpx.Response:
    event = {"event_type": "PauseMentorEvent", "mentor_id": MENTOR_ID, "reason": name}
    return client.post(f"{BASE}/events", json=event, headers={"idempotency-key": name})


def rest(up: UpProcess) -> httpx.Client:
    return httpx.Client(base_url=up.url, timeout=CALL_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(start_up: StartUp, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end all parts, with status 0 and without an error message."""
    up = start_up()
    parts = up.parts
    up.signal(number)
    assert up.end() == 0
    assert up.messages() == [f"{number.name}: stopping; a second signal kills everything at once"]
    wait_until_gone(parts)


def test_it_can_be_started_in_a_folder_with_python_files(up_flags: tuple[str, ...], tmp_path: Path) -> None:
    """None of its processes takes them for modules. Settings are relative to the folder all the same."""
    for module in ("mentorsync", "queue", "token"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('this is another module')")
    settings = dict.fromkeys(LISTENERS, "127.0.0.1:0") | {"database_url": "sqlite:///events.db"}
    program = [str(Path(sys.executable).with_name("mentorsync")), "up", *up_flags]
    with subprocess.Popen(program, cwd=tmp_path, env=environment(settings), stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        announced = read_announcement(up.stdout)
        up.terminate()
    assert announced["database"] == f"sqlite:///{tmp_path}/events.db"
    assert (tmp_path / "events.db").exists()
    assert up.returncode == 0


def test_a_hangup_stops_nothing(start_up: StartUp) -> None:
    """SIGHUP replaces replicas. Where there are none, one line refuses it."""
    up = start_up()
    parts = up.parts
    up.signal(signal.SIGHUP)
    (message,) = wait_until(up.messages, "a line about the signal")
    assert message == "SIGHUP: only replicas on PostgreSQL, without --separate, can be replaced; nothing was stopped"
    assert up.parts == parts
    assert up.is_healthy()


def test_grpc_is_served_at_its_address(start_up: StartUp) -> None:
    """Calls reach the service at the address that is printed."""
    up = start_up()
    assert "balanced" not in up.announced
    assert_listing_works(up.announced["gRPC"])
    up.signal(signal.SIGINT)
    assert up.end() == 0


@pytest.mark.parametrize("up_flags", [("--separate",)], indirect=True)
def test_balanced_grpc_has_a_listener_when_its_address_is_set(start_up: StartUp) -> None:
    """In the separate mode its address is printed with the others, and calls reach the service."""
    up = start_up(gateway_grpc_address="127.0.0.1:0")
    assert_listing_works(up.announced["balanced"].partition(" ")[0])
    up.signal(signal.SIGINT)
    assert up.end() == 0


def test_balanced_grpc_is_refused_in_the_one_process_mode(tmp_path: Path) -> None:
    """The message names the setting to use."""
    settings = environment({"gateway_grpc_address": "127.0.0.1:0"})
    finished = subprocess.run(command("up"), env=settings, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "MENTORSYNC_GATEWAY_GRPC_ADDRESS (--gateway-grpc-address) has no use" in finished.stderr
    assert "MENTORSYNC_GRPC_ADDRESS" in finished.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_taken", [True, False], ids=["taken", "public"])
def test_a_refused_admin_address_leaves_the_database_alone(tmp_path: Path, *, is_taken: bool) -> None:
    """It is checked with the other addresses, before the database gets its schema."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        admin = f"127.0.0.1:{listener.getsockname()[1]}" if is_taken else "0.0.0.0:0"  # refused
        addresses = dict.fromkeys(LISTENERS, "127.0.0.1:0") | {"gateway_admin_address": admin}
        settings = environment(addresses | {"database_url": f"sqlite:///{tmp_path}/events.db"})
        finished = subprocess.run(command("up"), env=settings, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("mentorsync: MENTORSYNC_GATEWAY_ADMIN_ADDRESS ")
    assert not list(tmp_path.iterdir())


def assert_listing_works(address: str, total: int = 0) -> None:
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ListSyncEvents")
        page = pb.ListSyncEventsResponse.FromString(call(b"", timeout=CALL_SECONDS))
        assert page.pagination.total == total


def test_kill_9_leaves_nothing_behind(start_up: StartUp) -> None:
    """Its parts die with it, so that a new one gets the same ports and the same database."""
    with hold_port() as rest, hold_port() as grpc:
        addresses = {"rest_address": address_of(rest), "grpc_address": address_of(grpc)}
        up = start_up(**addresses)
        parts = up.parts
        up.signal(signal.SIGKILL)
        up.end()
        wait_until_gone(parts)
        again = start_up(**addresses)
    assert again.url == up.url


def test_a_part_that_dies_ends_the_whole(start_up: StartUp) -> None:
    """When any part is killed, the others stop, one line names the part, and the status is 1."""
    for index in (0, -1):
        up = start_up()
        parts = up.parts
        os.kill(parts[index], signal.SIGKILL)
        assert up.end() == 1
        wait_until_gone(parts)
        assert len(up.messages()) == 1
        assert "ended unexpectedly, by SIGKILL" in up.messages()[0]


def test_a_call_in_flight_is_answered_before_the_end(start_up: StartUp, database: Database) -> None:
    """A submit that waits for the database when the service is stopped gets its answer."""
    up = start_up()
    with rest(up) as client, ThreadPoolExecutor(1) as pool, WriteLock(database) as lock:
        answer = pool.submit(submit, client, "held-up")
        wait_until(lambda: up.metric("mentorsync_write_queue_depth") == 1, "a queued write")
        up.signal(signal.SIGTERM)
        up.wait_until_unready()
        lock.release()
        assert answer.result().status_code == httpx.codes.OK
    assert up.end() == 0
    assert database.execute("SELECT count(*) FROM events") == [(1,)]


def test_concurrent_submits_with_one_key_make_one_event(start_up: StartUp) -> None:
    """All get the same answer, byte for byte, and the total is exact."""
    up = start_up()
    with rest(up) as client, ThreadPoolExecutor(STREAMS) as pool:
        for round_number in range(10):
            same = [f"key-{round_number}"] * STREAMS
            assert len(set(pool.map(lambda name: submit(client, name).content, same))) == 1
        assert client.get(BASE).json()["pagination"]["total"] == 10


def test_answered_events_survive_kill_9(start_up: StartUp) -> None:
    """After a restart, answered submits give their answers again, and unanswered ones make one event when repeated."""
    up = start_up()
    answers, unanswered = submit_until_killed(up)
    with rest(start_up()) as client:
        for name, answer in answers.items():
            assert submit(client, name).content == answer
        for name in unanswered:
            assert submit(client, name).content == submit(client, name).content
        total = client.get(BASE).json()["pagination"]["total"]
    assert len(answers) >= ANSWERS_BEFORE_KILL
    assert total == len(answers) + len(unanswered)


def submit_until_killed(up: UpProcess) -> tuple[dict[str, bytes], list[str]]:
    """Submits in several threads, kills all parts meanwhile, and returns the answers and the names without one."""
    answers: dict[str, bytes] = {}
    unanswered: list[str] = []
    numbers = count()
    answer_numbers = count(1)
    is_killed = Event()

    def stream(_index: int) -> None:
        with rest(up) as client:
            while not is_killed.is_set():
                name = f"key-{next(numbers)}"
                try:
                    answer = submit(client, name)
                except httpx.TransportError:
                    unanswered.append(name)
                    return
                if answer.status_code != httpx.codes.OK:
                    unanswered.append(name)
                    return
                answers[name] = answer.content
                if next(answer_numbers) == ANSWERS_BEFORE_KILL:  # true for one of the threads
                    for part in up.parts:
                        os.kill(part, signal.SIGKILL)
                    is_killed.set()

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(stream, range(STREAMS)))
    assert up.end() == 1
    return answers, unanswered


@pytest.mark.parametrize("up_flags", [()], indirect=True, ids=["embedded"])
def test_a_stop_after_calls_on_both_listeners_closes_the_database(start_up: StartUp, database: Database) -> None:
    """Each listener reads on a connection of its own. The last one that is closed empties the write-ahead log."""
    up = start_up()
    with rest(up) as client:
        assert submit(client, "one").status_code == httpx.codes.OK
        assert client.get(BASE).status_code == httpx.codes.OK
    assert_listing_works(up.announced["gRPC"], total=1)
    up.signal(signal.SIGTERM)
    assert up.end() == 0
    assert not database.path.with_name(f"{database.path.name}-wal").exists()


@pytest.mark.parametrize("up_flags", [()], indirect=True, ids=["embedded"])
def test_health_over_grpc_fails_during_a_stop(start_up: StartUp, database: Database) -> None:
    """As /healthz does: probes over gRPC must leave as well. A call in flight holds the stop meanwhile."""
    up = start_up()
    with grpc.insecure_channel(up.announced["gRPC"]) as channel, rest(up) as client, ThreadPoolExecutor(1) as pool:
        health: Any = health_pb2_grpc.HealthStub(channel)
        check = health_pb2.HealthCheckRequest(service=SERVICE)
        assert health.Check(check, timeout=CALL_SECONDS).status == health_pb2.HealthCheckResponse.SERVING
        with WriteLock(database) as lock:
            answer = pool.submit(submit, client, "held-up")
            wait_until(lambda: up.metric("mentorsync_write_queue_depth") == 1, "a queued write")
            up.signal(signal.SIGTERM)
            up.wait_until_unready()
            with pytest.raises(grpc.RpcError) as refused:
                health.Check(check, timeout=CALL_SECONDS)
            lock.release()
            assert answer.result().status_code == httpx.codes.OK
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert up.end() == 0
