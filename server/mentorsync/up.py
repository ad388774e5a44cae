"""Runs the service and its gateway as one: starts them in order, watches them, and stops them together."""

import asyncio
import json
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from mentorsync_gateway.config import Config, separate, without_access_log
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.errors import GatewayError, HostModuleError
from mentorsync_gateway.launcher import Gateway, check_free

from mentorsync.config import (
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    METRICS_ADDRESS,
    REST_ADDRESS,
    Address,
    Setting,
    SettingsError,
    parse_address,
    variables,
)
from mentorsync.server_process import SERVER_SETTINGS, EndedError, ServerProcess
from mentorsync.storage.urls import without_credentials

ADDRESSES = (GRPC_ADDRESS, REST_ADDRESS, METRICS_ADDRESS, GATEWAY_ADMIN_ADDRESS, GATEWAY_GRPC_ADDRESS)
APPLICATION = "mentorsync.embedded:app"
LIST_PATH = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
ANSWER_SECONDS = 10.0  # from the gateway's start to its first answer
POLL_SECONDS = 0.02


async def up(settings: Namespace) -> int:
    """Serves until SIGINT or SIGTERM, or until a part ends by itself. Returns the exit status."""

    async def run(stack: AsyncExitStack) -> None:
        if settings.separate or settings.replicas > 1:
            await _run_separate(settings, stack)
            return
        try:
            await _run_embedded(settings, stack)
        except HostModuleError as error:
            print(f"mentorsync: {error}; running server and gateway as two processes instead", file=sys.stderr)
            await _run_separate(settings, stack)

    return await _supervise(run)


def check_addresses(settings: Namespace) -> None:
    """Raises SettingsError when an address cannot be had, before anything is started or changed."""
    users: dict[Address, Setting] = {}
    for setting in ADDRESSES:
        address = getattr(settings, setting.name)
        if address is None:
            continue
        if address.port and address in users:
            raise SettingsError(f"{users[address].variable} and {setting.variable} are both {address}")
        users[address] = setting
        try:
            check_free(setting.variable, address)
        except GatewayError as error:
            raise SettingsError(str(error)) from error


async def _run_embedded(settings: Namespace, stack: AsyncExitStack) -> None:
    """One process: Envoy, with the service inside."""
    inside = _with_ports(settings)
    envoy = await stack.enter_async_context(
        _running(
            embedded(
                APPLICATION,
                settings.rest_address,
                settings.gateway_admin_address,
                [inside.grpc_address],
                settings.gateway_grpc_address,
            ),
            settings,
            embedded_environment() | variables(inside, SERVER_SETTINGS),
        )
    )
    served = {
        "grpc": str(inside.grpc_address),
        "metrics": str(inside.metrics_address),
        "database": without_credentials(settings.database_url),
    }
    await _tell_once_it_answers(envoy, [served])
    await _until_one_ends([("the service", envoy.wait())])


async def _run_separate(settings: Namespace, stack: AsyncExitStack) -> None:
    """Envoy before one server or several."""
    servers = await stack.enter_async_context(_servers(settings))
    upstreams = [parse_address(server.announced["grpc"]) for server in servers]
    envoy = await stack.enter_async_context(_running(_before(upstreams, settings), settings))
    await _tell_once_it_answers(envoy, [server.announced for server in servers])
    keep_running = settings.replicas > 1  # the others serve on, while one is started again
    ends = [server.keep_running() if keep_running else server.wait() for server in servers]
    await _until_one_ends([("the gateway", envoy.wait()), *(("the server", end) for end in ends)])


async def gateway(settings: Namespace) -> int:
    """Runs the gateway alone, before servers that run elsewhere, in the same way."""

    async def run(stack: AsyncExitStack) -> None:
        envoy = await stack.enter_async_context(_running(_before(settings.upstream, settings), settings))
        ready = {name: str(Address(*address)) for name, address in envoy.addresses.items()}
        print(json.dumps({"event": "ready"} | ready), flush=True)
        await _until_one_ends([("the gateway", envoy.wait())])

    return await _supervise(run)


def _before(servers: Sequence[Address], settings: Namespace) -> Config:
    """The configuration of a gateway of its own, with what the settings say of gateways."""
    return separate(settings.rest_address, settings.gateway_admin_address, servers, settings.gateway_grpc_address)


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
async def _servers(settings: Namespace) -> AsyncIterator[list[ServerProcess]]:
    """As many servers as there are to be replicas; all but the first take free ports."""
    anywhere = {
        "grpc_address": settings.grpc_address._replace(port=0),
        "metrics_address": settings.metrics_address._replace(port=0),
    }
    servers = [
        ServerProcess(Namespace(**vars(settings) | (anywhere if number else {}))) for number in range(settings.replicas)
    ]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


@asynccontextmanager
async def _running(
    configuration: Config, settings: Namespace, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Gateway]:
    if settings.log_level in ("warning", "error"):
        configuration = without_access_log(configuration)
    envoy = await Gateway.start(configuration, environment=environment)
    try:
        yield envoy
    finally:
        await envoy.stop()


def _with_ports(settings: Namespace) -> Namespace:
    """The settings with a free port in place of each port 0: who runs inside Envoy cannot tell us which it took."""
    addresses = {setting.name: _free(getattr(settings, setting.name)) for setting in (GRPC_ADDRESS, METRICS_ADDRESS)}
    return Namespace(**vars(settings) | addresses)


def _free(address: Address) -> Address:
    if address.port:
        return address
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind(address)
        return Address(address.host, probe.getsockname()[1])


async def _tell_once_it_answers(envoy: Gateway, servers: list[Mapping[str, str]]) -> None:
    """Waits until a request through the gateway succeeds, then tells where everything is."""
    rest = Address(*envoy.addresses["rest"])
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while not await asyncio.to_thread(_answers, rest):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise EndedError(f"the gateway at {rest} did not answer within {ANSWER_SECONDS:g} s") from error
    balanced = envoy.addresses.get("grpc")
    _tell(rest, servers, Address(*balanced) if balanced else None)


def _answers(rest: Address) -> bool:
    """Whether the service calls itself healthy, and then answers a call."""
    connection = HTTPConnection(*rest, timeout=ANSWER_SECONDS)
    try:
        for path in ("/healthz", f"{LIST_PATH}?limit=1"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != HTTPStatus.OK:
                return False
    except (OSError, HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


async def _until_one_ends(processes: Iterable[tuple[str, Awaitable[int]]]) -> None:
    """Raises EndedError as soon as one of the processes ends."""
    tasks = {asyncio.ensure_future(end): name for name, end in processes}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    ended = done.pop()
    raise EndedError(f"{tasks[ended]} ended unexpectedly, with status {ended.result()}: stopping")


def _tell(rest: Address, servers: list[Mapping[str, str]], balanced: Address | None) -> None:
    over_all = f"\nbalanced  {balanced} (gRPC through the gateway, over all servers)" if balanced else ""
    print(
        f"""\
REST      http://{rest}
gRPC      {", ".join(server["grpc"] for server in servers)}{over_all}
metrics   {", ".join(f"http://{server['metrics']}/metrics" for server in servers)}
database  {servers[0]["database"]}

Try it:   curl -s -X POST -H 'content-type: application/json' \\
            -d '{{"event_type": "PauseMentorEvent", "mentor_id": "mntr_01HX4V2K8P"}}' \\
            http://{rest}{LIST_PATH}/events
Ctrl-C stops everything.""",
        flush=True,
    )
