"""HTTP/1.1 load from wrk (https://github.com/wg/wrk). The script requests.lua builds the requests."""

import json
import resource
import subprocess
from pathlib import Path
from typing import NamedTuple

from mentorsync.rpc.validation import DEFAULT_LIMIT

from tests.benchmarks.load.result import LoadResult
from tests.contract import BASE

SCRIPT = Path(__file__).with_name("requests.lua")
TIMEOUT_SECONDS = 30  # long, so that a slow answer does not count as an error


class Requests(NamedTuple):
    """The requests to send.

    second: 0 to 59, the second in the client timestamps of submits. Two runs on one database must not use the same
    second, or the later one would repeat the submits of the earlier one. page, limit: the page that lists request, and
    its size. Updates and deletes go through `events` events, from event number `first_event` on. Submits and snapshots
    go through `mentors` mentors, from mentor number `first_mentor` on.
    """

    operation: str
    second: int = 0
    page: int = 1
    limit: int = DEFAULT_LIMIT
    first_event: int = 1
    events: int = 1
    first_mentor: int = 0
    mentors: int = 1


def run_wrk(address: str, requests: Requests, in_flight: int, seconds: int, token: str = "") -> LoadResult:
    """Keeps `in_flight` requests in flight for `seconds`. wrk uses one thread.

    With `token`, over TLS, and each request carries the token.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with start_wrk(address, requests, in_flight, seconds, token) as process:
        load = wait_for_result(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return load._replace(generator=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def start_wrk(
    address: str, requests: Requests, in_flight: int, seconds: int, token: str = ""
) -> "subprocess.Popen[str]":
    command = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds}", f"--timeout={TIMEOUT_SECONDS}", "-s", str(SCRIPT)]
    operation, second, *numbers = requests
    arguments = [BASE, operation, f"{second:02}", *map(str, numbers), *([token] if token else [])]
    url = f"{'https' if token else 'http'}://{address}/"
    return subprocess.Popen([*command, url, "--", *arguments], stdout=subprocess.PIPE, text=True)


def wait_for_result(process: "subprocess.Popen[str]") -> LoadResult:
    """Waits until wrk ends, and returns its result. `generator` (wrk's CPU time) is 0."""
    output, _ = process.communicate()
    return LoadResult(**json.loads(output.strip().rpartition("\n")[2]), generator=0)
