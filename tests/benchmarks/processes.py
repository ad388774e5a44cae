"""Starts and stops the measured programs, and reads the CPU time and memory of all their processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from mentorsync.supervisor.child import die_with

START_SECONDS = 30
STOP_SECONDS = 30
KEPT_OUTPUT_BYTES = 16_384  # the end of a program's output: enough for its addresses or its error message
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PYTHON_MODULE = (sys.executable, "-m")


class ProgramEndedError(Exception):
    """A program ended, or did not announce an address in time. The message contains the end of its output."""


class Program:
    """A process and its descendants. A thread reads the output all the time, as a container runtime does."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            arguments,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - the function only makes system calls
        )
        self._output = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._output.decode(errors="replace")

    def wait_for(self, pattern: str) -> str:
        """Waits until the output matches a pattern, and returns its first group. Raises ProgramEndedError."""
        deadline = time.monotonic() + START_SECONDS
        while not (match := re.search(pattern, self.output)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._thread.join(1)
                raise ProgramEndedError(f"{self._process.args!r} did not serve:\n{self.output}")
            time.sleep(0.005)
        return match[1]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            while chunk := os.read(stream.fileno(), 65_536):
                self._output = (self._output + chunk)[-KEPT_OUTPUT_BYTES:]


def python_module(*arguments: str) -> tuple[str, ...]:
    """The command that runs a Python module. The first argument is the module's name."""
    return (*PYTHON_MODULE, *arguments)


def process_tree(roots: Iterable[int]) -> list[int]:
    """The ids of the processes and of all their running descendants."""
    found = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with suppress(ProcessLookupError):  # it has just ended, such as a worker of PostgreSQL's
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, _text(children).split())
    return found


def cpu_seconds(roots: Iterable[int]) -> dict[str, float]:
    """CPU time so far, by process name: of all its threads, and of its children that have ended."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for pid in process_tree(roots):
        try:
            clock = time.clock_gettime(
                (~pid << 3) | 2
            )  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h
        except OSError:  # the process has just ended
            continue
        fields = _text(Path(f"/proc/{pid}/stat")).rpartition(") ")[2].split()
        ended_children = sum(map(int, fields[13:15])) / CLOCK_TICKS if fields else 0
        seconds[process_name(pid)] += clock + ended_children
    return seconds


class Footprint(NamedTuple):
    """The resources that processes hold. memory: bytes (PSS: a shared page counts once). descriptors: open files."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, roots: Iterable[int]) -> Self:
        pids = process_tree(roots)
        return cls(
            sum(map(_proportional_memory, pids)),
            sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
            sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
        )


def process_name(pid: int) -> str:
    return _text(Path(f"/proc/{pid}/comm")).strip()


def _proportional_memory(pid: int) -> int:
    match = re.search(r"^Pss: +([0-9]+) kB", _text(Path(f"/proc/{pid}/smaps_rollup")), re.MULTILINE)
    return int(match[1]) * 1_024 if match else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has just ended
        return ""
