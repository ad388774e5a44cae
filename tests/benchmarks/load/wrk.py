"""HTTP/1.1 load by wrk (https://github.com/wg/wrk), with requests made by requests.lua."""

import json
import resource
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.load.result import LoadResult

SCRIPT = Path(__file__).with_name("requests.lua")
TIMEOUT_SECONDS = 30  # a slow answer is a slow answer, not an error


class Requests(NamedTuple):
    """What to send. second: 0 to 59, that of the client timestamps: no two runs on one database may share it, or they
    repeat each other. page: for lists. Updates and deletes go through `events` events from number `first_event` on,
    submits and snapshots through `mentors` mentors.
    """

    operation: str
    second: int = 0
    page: int = 1
    first_event: int = 1
    events: int = 1
    mentors: int = 1


def run_wrk(address: str, requests: Requests, in_flight: int, seconds: int) -> LoadResult:
    """Keeps `in_flight` requests unanswered for `seconds`, from one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with start_wrk(address, requests, in_flight, seconds) as process:
        load = report_of(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return load._replace(generator=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def start_wrk(address: str, requests: Requests, in_flight: int, seconds: int) -> "subprocess.Popen[str]":
    command = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds}", f"--timeout={TIMEOUT_SECONDS}", "-s", str(SCRIPT)]
    operation, second, *numbers = requests
    arguments = [operation, f"{second:02}", *map(str, numbers)]
    return subprocess.Popen([*command, f"http://{address}/", "--", *arguments], stdout=subprocess.PIPE, text=True)


def report_of(process: "subprocess.Popen[str]") -> LoadResult:
    """Waits for the end. The generator's own CPU is not in it."""
    output, _ = process.communicate()
    return LoadResult(**json.loads(output.strip().rpartition("\n")[2]), generator=0)
