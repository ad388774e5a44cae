"""Runs the service and its gateway as one: starts them in order, watches them, and stops them together."""

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager

from mentorsync_gateway.config import embedded_config, separate_config
from mentorsync_gateway.launcher import Gateway, GatewayError, die_with_parent

from mentorsync.config import Address, SettingsError, environment_of

START_SECONDS = 30.0
STOP_SECONDS = 15.0  # a little more than the server gives accepted calls


class ServerProcess:
    """A `mentorsync serve` of our own. `addresses` holds what it announced."""

    def __init__(self, process: Process, addresses: dict[str, str]) -> None:
        self._process = process
        self.addresses = addresses

    @classmethod
    @asynccontextmanager
    async def started(cls, settings: Namespace) -> AsyncIterator["ServerProcess"]:
        """Waits until the server serves. Raises ServerEnded when it refuses; it has said why itself."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "mentorsync", "serve"),
            env=os.environ | environment_of(settings),
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for us alone: we stop the gateway first
            preexec_fn=die_with_parent,
        )
        try:
            assert process.stdout
            line = await process.stdout.readline()
            if not line:
                raise ServerEndedError(await process.wait())
            yield cls(process, json.loads(line))
        finally:
            await _stop(process)
