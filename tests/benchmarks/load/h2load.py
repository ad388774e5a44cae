"""gRPC load from h2load (https://nghttp2.org). Several processes run, because each can send only one body.

h2load counts HTTP statuses, not gRPC statuses. So the database must be checked afterwards.
"""

import resource
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.rpc.asgi import PATH_PREFIX

from tests.benchmarks.filling import mentor_id
from tests.benchmarks.load.result import LoadResult
from tests.benchmarks.statistics import percentile

MAX_CONNECTIONS = 8  # each sends calls for one mentor; more calls in flight are more streams on a connection


def submit_payload(mentor: str) -> bytes:
    request = pb.SubmitEventRequest(event_type=pb.PauseMentorEvent, mentor_id=mentor, reason="Taking a short break")
    return request.SerializeToString()


def snapshot_payload(mentor: str) -> bytes:
    return pb.GetMentorStatusRequest(mentor_id=mentor).SerializeToString()


CALLS = {"submit": ("SubmitEvent", submit_payload), "snapshot": ("GetMentorStatus", snapshot_payload)}
HEADERS = ("content-type: application/grpc", "te: trailers")


def run_h2load(address: str, operation: str, in_flight: int, seconds: float) -> LoadResult:
    """Keeps `in_flight` calls of an operation in flight for `seconds`. Submits have no client_timestamp, so each one is
    a new event.
    """
    method, make_payload = CALLS[operation]
    url = f"http://{address}{PATH_PREFIX}{method}"
    connections = min(in_flight, MAX_CONNECTIONS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as directory:
        logs = [Path(directory, f"{number}.log") for number in range(connections)]
        processes = [
            _start(url, make_payload(mentor_id(number)), in_flight // connections, seconds, log)
            for number, log in enumerate(logs)
        ]
        for process in processes:
            process.communicate()
        rows = [line.split() for log in logs for line in log.read_text().splitlines()]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    durations = [float(duration) for _start_time, _status, duration in rows]
    return LoadResult(
        requests=len(rows),
        seconds=seconds,
        p50=percentile(durations, 50),
        p99=percentile(durations, 99),
        errors=sum(status != "200" for _start_time, status, _duration in rows),
        generator=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def _start(url: str, payload: bytes, streams: int, seconds: float, log: Path) -> subprocess.Popen[bytes]:
    body = log.with_suffix(".body")
    body.write_bytes(b"\0" + len(payload).to_bytes(4, "big") + payload)
    command = ["h2load", "--clients=1", "--threads=1", f"--max-concurrent-streams={streams}", f"--duration={seconds:g}"]
    command += [f"--header={header}" for header in HEADERS]
    command += [f"--data={body}", f"--log-file={log}", url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
