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
    """What to send. second: see requests.lua; page: for lists; first_event: the number before that of the first event
    that is updated or deleted.
    """

    operation: str
    second: int = 0
    page: int = 1
    first_event: int = 0


def run_wrk(address: str, requests: Requests, in_flight: int, seconds: float) -> LoadResult:
    """Keeps `in_flight` requests unanswered for `seconds`, in whole ones, from one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds:g}", f"--timeout={TIMEOUT_SECONDS}", "-s", str(SCRIPT)]
    arguments = [requests.operation, f"{requests.second:02}", str(requests.page), str(requests.first_event)]
    output = subprocess.run(
        [*command, f"http://{address}/", "--", *arguments], check=True, capture_output=True, text=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(output.strip().rpartition("\n")[2])
    generator = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return LoadResult(**report, generator=generator)
