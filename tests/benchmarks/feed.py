"""Measures the live feed, compared with a broadcast of FastAPI and with its targets: `make bench-feed`.

Writes .benchmarks/feed.json. Each scene has a service of its own, one after the other. The load generators share the
machine's cores with it.
"""

import os
import socket
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.compare import postgres_server, work_directory
from tests.benchmarks.feed_service import WATCH, Service, delays, p50_and_p99, peer, received_after, up
from tests.benchmarks.load.grpc_streams import grpc_streams
from tests.benchmarks.load.paced import OWN_MENTOR, PACED_MENTOR, result_of, run_paced, start_paced
from tests.benchmarks.load.streams import Streams, streams
from tests.benchmarks.machine import describe
from tests.benchmarks.progress import Progress
from tests.benchmarks.report import feed_table
from tests.benchmarks.results import FeedRun, result_path, save
from tests.postgres_server import free_port
from tests.server_process import wait_until

SUBSCRIBERS = 1_000
STALLED_READERS = 500
IDLE_SECONDS = 1  # before memory is measured, so that what the beginning needed is given back
FIRST_SECONDS = 0.5  # of writes that are not counted, so that all code has run once
RATE = 20  # changes a second to all subscribers
FULL_RATE = 200  # changes a second: ten times as many
WRITE_RATE = 1_000  # changes a second of other mentors
UNARY_RATE = 100
STALLING_CHANGES = 4_000  # 1.4 MB of server-sent events
LONGEST_RESTART_SECONDS = 60


class Plan(NamedTuple):
    rounds: int
    seconds: float  # of each measurement
    idle_streams: int  # for the memory in all and the CPU time
    restarted_streams: int


QUICK = Plan(rounds=1, seconds=2, idle_streams=1_000, restarted_streams=500)
FULL = Plan(rounds=3, seconds=5, idle_streams=10_000, restarted_streams=5_000)
Values = dict[str, float]
Scene = Callable[[Plan, Path], Values]


def main() -> None:
    parser = ArgumentParser(prog="make bench-feed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round with fewer idle streams")
    parser.add_argument("--only", choices=[scene.__name__ for scene in SCENES], help="one scene, without a result file")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    scenes = [scene for scene in SCENES if arguments.only in (None, scene.__name__)]
    with work_directory() as directory:
        run = measure(plan, scenes, directory)
    if arguments.only is None:
        save(run, result_path("feed.json"))
    print(feed_table(run))


def measure(plan: Plan, scenes: list[Scene], directory: Path) -> FeedRun:
    progress = Progress(plan.rounds * len(scenes))
    machine = describe(directory)
    rows: dict[str, list[float]] = {}
    loads = []
    for number in range(plan.rounds):
        for scene in scenes:
            folder = directory / f"{scene.__name__}-{number}"
            folder.mkdir()
            folder.chmod(0o755)
            loads.append(os.getloadavg()[0])
            values = scene(plan, folder)
            for name, value in values.items():
                rows.setdefault(name, []).append(value)
            shown = ", ".join(f"{name} {value:,.1f}" for name, value in values.items())
            progress.step(f"{scene.__name__}: {shown}; load {loads[-1]:.1f}")
    machine["load average"] = f"{min(loads):.1f} to {max(loads):.1f} before the scenes"
    return FeedRun(plan.rounds, plan.idle_streams, machine, rows)


@contextmanager
def fresh_service(folder: Path) -> Iterator[Service]:
    with up(f"sqlite:///{folder}/events.db") as service:
        yield service


def throughput(plan: Plan, folder: Path) -> Values:
    """More changes than can be sent one by one: they are sent together."""
    ours, ours_cpu = _deliveries(fresh_service(folder), plan)
    theirs, theirs_cpu = _deliveries(peer(f"sqlite:///{folder}/peer.db"), plan)
    return {
        "deliveries": ours,
        "deliveries of the peer": theirs,
        "deliveries, compared with the peer": ours / theirs,
        "CPU µs of a delivery": ours_cpu,
        "CPU µs of a delivery of the peer": theirs_cpu,
    }


def _deliveries(running: AbstractContextManager[Service], plan: Plan) -> tuple[float, float]:
    """Deliveries a second, and the CPU microseconds of one."""
    with running as service, streams(service.rest, SUBSCRIBERS, WATCH) as received:
        run_paced(service.rest, "submit", FULL_RATE, FIRST_SECONDS)
        received_after(received, int(SUBSCRIBERS * FULL_RATE * FIRST_SECONDS))
        cpu, started = service.cpu, time.monotonic()
        writes = start_paced(service.rest, "submit", FULL_RATE, plan.seconds)
        time.sleep(plan.seconds)
        changes = received.figures().changes
        seconds, cpu = time.monotonic() - started, service.cpu - cpu
        result_of(writes)
    return changes / seconds, cpu / max(changes, 1) * 1e6


def fan_out(plan: Plan, folder: Path) -> Values:
    with fresh_service(folder) as service, streams(service.rest, SUBSCRIBERS, WATCH) as received:
        p50, p99, cpu = _fan_out(service, received, plan)
    return {"fan-out p50": p50, "fan-out p99": p99, "CPU µs of a delivery, few changes": cpu}


def _fan_out(service: Service, received: Streams, plan: Plan) -> tuple[float, float, float]:
    run_paced(service.rest, "submit", RATE, FIRST_SECONDS)
    received_after(received, int(SUBSCRIBERS * RATE * FIRST_SECONDS))
    cpu = service.cpu
    load = run_paced(service.rest, "submit", RATE, plan.seconds)
    figures = received_after(received, SUBSCRIBERS * load.requests)
    cpu = service.cpu - cpu
    return *p50_and_p99(delays(figures, service.database_url)), cpu / figures.changes * 1e6


def own_stream(plan: Plan, folder: Path) -> Values:
    """One mentor's stream, while others write."""
    own = f"{WATCH}?mentor_id={OWN_MENTOR}&changes_only=true"
    with fresh_service(folder) as service, streams(service.rest, 1, own) as received:
        others = start_paced(service.rest, "submit", WRITE_RATE, plan.seconds)
        load = run_paced(service.rest, "own submit", RATE, plan.seconds)
        figures = received_after(received, load.requests)
        result_of(others)
        p50, p99 = p50_and_p99(delays(figures, service.database_url))
    return {"own stream p50": p50, "own stream p99": p99}


def two_replicas(plan: Plan, folder: Path) -> Values:
    """A stream of one replica, and writes to the other one."""
    with postgres_server(folder) as (postgres, _), ExitStack() as stack:
        postgres.execute("CREATE DATABASE feed")
        first, second = (stack.enter_context(up(postgres.url("feed"))) for _ in range(2))
        received = stack.enter_context(streams(first.rest, 1, f"{WATCH}?changes_only=true"))
        load = run_paced(second.rest, "submit", RATE, plan.seconds)
        figures = received_after(received, load.requests)
        _, p99 = p50_and_p99(delays(figures, first.database_url))
    return {"two replicas p99": p99}


def idle_memory(_plan: Plan, folder: Path) -> Values:
    """Of a thousand streams of each kind, after some have come and gone."""
    with fresh_service(folder) as service:
        with streams(service.rest, 10, WATCH):
            before = _settled_memory(service)
        with streams(service.rest, SUBSCRIBERS, WATCH):
            sse = _settled_memory(service) - before
    with fresh_service(folder) as service:
        with grpc_streams(service.grpc, 10):
            before = _settled_memory(service)
        with grpc_streams(service.grpc, SUBSCRIBERS):
            grpc = _settled_memory(service) - before
    return {"memory of an SSE stream": sse / SUBSCRIBERS / 1e3, "memory of a gRPC stream": grpc / SUBSCRIBERS / 1e3}


def _settled_memory(service: Service) -> int:
    time.sleep(IDLE_SECONDS)
    return service.memory


def idle_streams(plan: Plan, folder: Path) -> Values:
    with fresh_service(folder) as service, streams(service.rest, plan.idle_streams, WATCH):
        memory = _settled_memory(service)
        cpu = service.cpu
        time.sleep(plan.seconds * 5)  # longer than a heartbeat in a full run
        cpu = service.cpu - cpu
    of_all = f"{plan.idle_streams:,} idle streams"  # a quick run has fewer than the target names
    return {f"memory of {of_all}": memory / 1e6, f"CPU of {of_all}": cpu / (plan.seconds * 5) * 100}


def restart(plan: Plan, folder: Path) -> Values:
    """Until all streams are current again. They come back when the server told them to."""
    port = free_port()
    url = f"sqlite:///{folder}/events.db"
    with ExitStack() as stack:
        with up(url, port) as service:
            run_paced(service.rest, "own submit", RATE, FIRST_SECONDS)
            received = stack.enter_context(streams(service.rest, plan.restarted_streams, WATCH))
            usual = run_paced(service.rest, "snapshot", UNARY_RATE, plan.seconds).p99
            started = time.monotonic()
        service = stack.enter_context(up(url, port))
        unary = start_paced(service.rest, "snapshot", UNARY_RATE, plan.seconds)
        while received.figures().current < plan.restarted_streams:
            if time.monotonic() - started > LONGEST_RESTART_SECONDS:
                break
            time.sleep(0.1)
        seconds = time.monotonic() - started
        meanwhile = result_of(unary).p99
    restart = f"restart under {plan.restarted_streams:,} streams"
    return {restart: seconds, f"p99 of snapshots after a {restart}, compared with usual": meanwhile / usual}


def stalled_readers(plan: Plan, folder: Path) -> Values:
    """They read nothing, of more changes than the buffers on their way can hold."""
    with fresh_service(folder) as service, streams(service.rest, SUBSCRIBERS, WATCH) as received, ExitStack() as stack:
        _, usual, _ = _fan_out(service, received, plan)
        for _ in range(STALLED_READERS):
            _open_stalled_reader(service.rest, stack)
        run_paced(service.rest, "submit", WRITE_RATE, STALLING_CHANGES / WRITE_RATE)
        wait_until(lambda: service.stalled_streams == STALLED_READERS, "the stalled readers")
        received_after(received, SUBSCRIBERS * STALLING_CHANGES)
        _, beside, _ = _fan_out(service, received, plan)
    return {"p99 beside stalled readers, compared with usual": beside / usual}


def _open_stalled_reader(address: str, stack: ExitStack) -> None:
    host, _, port = address.rpartition(":")
    reader = stack.enter_context(socket.socket())
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.connect((host, int(port)))
    reader.sendall(f"GET {WATCH}?changes_only=true HTTP/1.1\r\nhost: test\r\n\r\n".encode())
    reader.recv(1)  # the stream has begun


def submits(plan: Plan, folder: Path) -> Values:
    """Beside receivers of everything, and beside receivers of one mentor each, of whom 200 change in a second."""
    of_one = f"{WATCH}?mentor_id={PACED_MENTOR}{{}}&changes_only=true"
    with fresh_service(folder) as service:
        run_paced(service.rest, "submit", FULL_RATE, FIRST_SECONDS)
        without = run_paced(service.rest, "submit", FULL_RATE, plan.seconds).p99
        with streams(service.rest, SUBSCRIBERS, of_one):
            beside_phones = run_paced(service.rest, "submit", FULL_RATE, plan.seconds).p99
        with streams(service.rest, SUBSCRIBERS, f"{WATCH}?changes_only=true"):
            beside = run_paced(service.rest, "submit", FULL_RATE, plan.seconds).p99
    return {
        "submit p99 with subscribers": beside / 1e3,
        "submit p99 with subscribers, compared with none": beside / without,
        "submit p99 with subscribers of one mentor each, compared with none": beside_phones / without,
    }


SCENES: tuple[Scene, ...] = (
    throughput,
    fan_out,
    own_stream,
    two_replicas,
    idle_memory,
    idle_streams,
    restart,
    stalled_readers,
    submits,
)

if __name__ == "__main__":
    main()
