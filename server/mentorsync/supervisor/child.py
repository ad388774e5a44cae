"""Child processes: They end when the supervisor ends, and a relay reads their output."""

import asyncio
import ctypes
import os
import resource
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Self

from mentorsync.config import STOP_DESCRIPTOR_VARIABLE
from mentorsync.supervisor.pipe import Pipe, open_pipe
from mentorsync.supervisor.relay import Relay

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Not the user's: Python inside Envoy, and `python -m`, look for modules in the working directory first.
WORKING_DIRECTORY = "/"


class Child:
    """A running child process. Its standard error goes to the relay; `stdout` is read by the owner, or relayed too.

    The child inherits a pipe that ends with `announce_stop`. STOP_DESCRIPTOR_VARIABLE has its number.
    """

    def __init__(self, process: Process, relay: Relay, stdout: Pipe, stop_pipe: int) -> None:
        self._process = process
        self._relay = relay
        self.stdout = stdout
        self._stop_pipe: int | None = stop_pipe

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], relay: Relay, descriptors: Sequence[int] = ()
    ) -> Self:
        """Starts a command. The child inherits `descriptors` under their numbers. Raises OSError."""
        with ExitStack() as stack:
            stdout, stderr = open_pipe(stack), open_pipe(stack)
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            close_at_failure = stack.enter_context(ExitStack())
            close_at_failure.callback(os.close, writing)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=stdout.writing,
                stderr=stderr.writing,
                env={**environment, STOP_DESCRIPTOR_VARIABLE: str(reading)},
                pass_fds=(*descriptors, reading),
                start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone: it stops the parts in order
                preexec_fn=_prepare(os.getpid()),
                cwd=WORKING_DIRECTORY,
            )
            close_at_failure.pop_all()
        relay.follow(stderr)
        return cls(process, relay, stdout, writing)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Waits until the process has ended and all its output is relayed. Returns the exit status."""
        status = await self._process.wait()
        self.announce_stop()  # releases the pipe
        await self._relay.finish()
        return status

    def announce_stop(self) -> None:
        """Lets the process end its streams, which would outlast every drain. May be called again."""
        if self._stop_pipe is not None:
            os.close(self._stop_pipe)
            self._stop_pipe = None

    def send_signal(self, number: signal.Signals) -> None:
        """Does nothing when the process has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


def _prepare(parent: int) -> Callable[[], None]:
    """Returns what the child runs first: `die_with`, and a higher limit of open files (Envoy needs over 1,024)."""
    ask_to_die = die_with(parent)

    def prepare() -> None:
        _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
        ask_to_die()

    return prepare


def die_with(parent: int) -> Callable[[], None]:
    """Returns a function for the child to run before exec: the kernel then kills it when its parent dies.

    The thread that starts the child must live on: for the kernel, that thread is the parent.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # on Linux only

    def ask() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the call
                os.kill(os.getpid(), signal.SIGKILL)

    return ask
