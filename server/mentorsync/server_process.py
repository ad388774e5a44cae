"""A `mentorsync serve` as a process of our own."""

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import NoReturn

from mentorsync_gateway.process import die_with

from mentorsync.config import (
    DATABASE_URL,
    GRPC_ADDRESS,
    LOG_LEVEL,
    METRICS_ADDRESS,
    parse_address,
    variables,
)

SERVER_SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, LOG_LEVEL)
STOP_SECONDS = 15.0  # a little more than the server gives accepted calls
RESTART_SECONDS = 1.0  # before another try to start a server that could not be started


class EndedError(Exception):
    """A process that we run has ended by itself; `status` is then ours. An empty message: it has said why itself."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class ServerProcess:
    """A `mentorsync serve` of our own. `announced` holds its addresses: `grpc`, `metrics` and `database`."""

    def __init__(self, settings: Namespace) -> None:
        self._settings = settings
        self._process: Process | None = None
        self.announced: dict[str, str] = {}

    async def start(self) -> None:
        """Returns once it serves. Raises EndedError when it does not; it has then said why itself."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mentorsync", "serve"),
            env=os.environ | variables(self._settings, SERVER_SETTINGS),
            stdout=PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for us: the gateway is to drain first
            preexec_fn=die_with(os.getpid()),
        )
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise EndedError("", await self.wait())
        self.announced = json.loads(line)

    async def wait(self) -> int:
        assert self._process
        return await self._process.wait()

    async def keep_running(self) -> NoReturn:
        """Starts it again, where it was, whenever it ends."""
        self._settings.grpc_address = parse_address(self.announced["grpc"])
        self._settings.metrics_address = parse_address(self.announced["metrics"])
        while True:
            status = await self.wait()
            print(
                f"mentorsync: the server at {self.announced['grpc']} ended with status {status}, and is started again",
                file=sys.stderr,
            )
            with suppress(EndedError):
                await self.start()
                continue
            await asyncio.sleep(RESTART_SECONDS)

    async def stop(self) -> None:
        if self._process is None:
            return
        for number in (signal.SIGINT, signal.SIGKILL):  # SIGTERM would have it wait for a gateway to look elsewhere
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), STOP_SECONDS)
                return
