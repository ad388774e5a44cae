"""Runs the service and its gateway as one: starts them in order, watches them, and stops them together."""

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from mentorsync_gateway import config
from mentorsync_gateway.errors import GatewayError
from mentorsync_gateway.launcher import Gateway, check_free, die_with

from mentorsync.config import (
    DATABASE_URL,
    GRPC_ADDRESS,
    LOG_LEVEL,
    METRICS_ADDRESS,
    Address,
    SettingsError,
    parse_address,
    variables,
)

SERVER_SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, LOG_LEVEL)
LIST_PATH = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
ANSWER_SECONDS = 10.0  # from the gateway's start to its first answer
STOP_SECONDS = 15.0  # a little more than the server gives accepted calls
POLL_SECONDS = 0.02


class EndedError(Exception):
    """A process that we run has ended by itself; `status` is then ours. An empty message: it has said why itself."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class ServerProcess(NamedTuple):
    """A `mentorsync serve` of our own, and what it announced: `grpc`, `metrics` and `database`."""

    process: Process
    announced: Mapping[str, str]


async def up(settings: Namespace) -> int:
    """Serves until SIGINT or SIGTERM, or until a part ends by itself. Returns the exit status."""

    async def run(stack: AsyncExitStack) -> None:
        for setting in (GRPC_ADDRESS, METRICS_ADDRESS):
            check_free(setting.variable, getattr(settings, setting.name))
        server = await stack.enter_async_context(_server(settings))
        envoy = await stack.enter_async_context(_gateway(settings, [parse_address(server.announced["grpc"])]))
        rest = Address(*envoy.addresses["rest"])
        await _first_answer(rest)
        _tell(rest, server.announced)
        await _until_one_ends({"the server": server.process.wait(), "the gateway": envoy.wait()})

    return await _supervise(run)


async def gateway(settings: Namespace) -> int:
    """Runs the gateway alone, before servers that run elsewhere, in the same way."""

    async def run(stack: AsyncExitStack) -> None:
        envoy = await stack.enter_async_context(_gateway(settings, settings.upstream))
        ready = {name: str(Address(*address)) for name, address in envoy.addresses.items()}
        print(json.dumps({"event": "ready"} | ready), flush=True)
        await _until_one_ends({"the gateway": envoy.wait()})

    return await _supervise(run)


async def _supervise(run: Callable[[AsyncExitStack], Awaitable[None]]) -> int:
    """Runs until a signal comes, then leaves the stack in order."""
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with AsyncExitStack() as stack:
            await run(stack)
    except asyncio.CancelledError:
        return 0
    except GatewayError as error:
        raise SettingsError(str(error)) from error
    except EndedError as error:
        if str(error):
            print(f"mentorsync: {error}", file=sys.stderr)
        return error.status
    return 0


@asynccontextmanager
async def _server(settings: Namespace) -> AsyncIterator[ServerProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mentorsync", "serve"),
        env=os.environ | variables(settings, SERVER_SETTINGS),
        stdout=PIPE,
        start_new_session=True,  # a terminal's Ctrl-C is for us: the gateway is to drain first
        preexec_fn=die_with(os.getpid()),
    )
    assert process.stdout
    try:
        line = await process.stdout.readline()
        if not line:
            raise EndedError("", await process.wait())
        yield ServerProcess(process, json.loads(line))
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
            return


@asynccontextmanager
async def _gateway(settings: Namespace, upstreams: list[Address]) -> AsyncIterator[Gateway]:
    envoy = await Gateway.start(config.separate(settings.rest_address, settings.gateway_admin_address, upstreams))
    try:
        yield envoy
    finally:
        await envoy.stop()


async def _first_answer(rest: Address) -> None:
    """Waits until a request through the gateway succeeds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            while not await asyncio.to_thread(_answers, rest):
                await asyncio.sleep(POLL_SECONDS)
            return
    raise EndedError(f"the gateway at {rest} did not answer within {ANSWER_SECONDS:g} s")


def _answers(rest: Address) -> bool:
    connection = HTTPConnection(*rest, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"{LIST_PATH}?limit=1")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


async def _until_one_ends(processes: Mapping[str, Awaitable[int]]) -> None:
    """Raises EndedError as soon as one of the processes ends."""
    tasks = {asyncio.ensure_future(wait): name for name, wait in processes.items()}
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    ended = done.pop()
    raise EndedError(f"{tasks[ended]} ended unexpectedly, with status {ended.result()}: stopping")


def _tell(rest: Address, announced: Mapping[str, str]) -> None:
    print(
        f"""\
REST      http://{rest}
gRPC      {announced["grpc"]}
metrics   http://{announced["metrics"]}/metrics
database  {announced["database"]}

Try it:   curl -s -X POST -H 'content-type: application/json' \\
            -d '{{"event_type": "PauseMentorEvent", "mentor_id": "mntr_01HX4V2K8P"}}' \\
            http://{rest}{LIST_PATH}/events
Ctrl-C stops everything.""",
        flush=True,
    )
