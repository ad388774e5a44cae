"""What REST tests run against: the real service behind the real Envoy, in both modes, and a gateway with a stub."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mentorsync.config import HEALTH_SOCKET_VARIABLE
from mentorsync.supervisor.envoy import Envoy, Hosted
from mentorsync.supervisor.stop import stop_in_order
from mentorsync.time_limits import END_SECONDS
from mentorsync_gateway.config import Address, Config, separate
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.pages import with_pages

from tests import openapi
from tests.databases import Databases
from tests.rest.answers import wait_for_status
from tests.server_process import hold_port

SERVICE = "mentorstatus.v1.MentorStatusSync"
METHODS = ("ListSyncEvents", "GetMentorStatus", "SubmitEvent", "UpdateEvent", "DeleteEvent")
FREE_PORT: Address = ("127.0.0.1", 0)
LOG = logging.getLogger("gateway")
LOG.setLevel(logging.INFO)
EXCHANGE_SECONDS = 20.0  # longer than any timeout of the gateway that a test waits for

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Change = Callable[[Config], Config]  # of Envoy's configuration, before it starts


class Service(NamedTuple):
    """A running service. `rest` is where REST is served."""

    mode: str
    rest: Address

    @property
    def url(self) -> str:
        return f"http://{self.rest[0]}:{self.rest[1]}"


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs coroutines on one loop in a thread of its own, so that gateways live on between the steps of a test."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def new_gateway(config: Config, environment: Mapping[str, str] | None = None) -> Envoy:
    """A gateway that has not started. Its lines are part of the test's log, which pytest shows if the test fails."""
    return Envoy("the gateway", config, log_lines, Hosted(environment or {}))


def log_lines(lines: bytes) -> None:
    """Not to standard error: some lines come between two tests, when that is the terminal."""
    LOG.info(lines.decode(errors="replace"))


async def stop_gateway(gateway: Envoy, seconds: float = END_SECONDS) -> None:
    """Stops a gateway within a time. The default leaves none for calls in flight."""
    await stop_in_order([[gateway]], asyncio.get_running_loop().time() + seconds)


@contextmanager
def running_gateway(run: Run, config: Config, environment: Mapping[str, str] | None = None) -> Iterator[Envoy]:
    gateway = new_gateway(config, environment)
    run(gateway.start())
    try:
        yield gateway
    finally:
        run(stop_gateway(gateway))


# PostgreSQL in one mode: behind the calls the two are the same, and replicas on it run in this one.
@pytest.fixture(scope="module", params=["separate-sqlite", "embedded-sqlite", "separate-postgres"])
def service(request: pytest.FixtureRequest, run: Run, databases: Databases) -> Iterator[Service]:
    """The real service on an empty database, its own for each module of tests."""
    mode, _, engine = request.param.partition("-")
    with ExitStack() as stack:
        settings = settings_for(stack.enter_context(databases.fresh() if engine == "postgres" else fresh_file()))
        start = separate_gateway if mode == "separate" else embedded_gateway
        running = Service(mode, stack.enter_context(start(run, settings)).addresses["rest"])
        wait_until_healthy(running)
        yield running


@contextmanager
def fresh_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"sqlite:///{directory}/mentorsync.db"


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    """A client that compares every answer with openapi.yaml."""
    hooks = {"response": [openapi.check]}
    with httpx.Client(base_url=service.url, timeout=EXCHANGE_SECONDS, event_hooks=hooks) as client:
        yield client


@pytest.fixture(scope="module")
def rest(service: Service) -> Address:
    return service.rest


@pytest.fixture(scope="session")
def exchange_bytes() -> Callable[[Address, bytes], httpx.Response]:
    return exchange


@pytest.fixture(scope="module")
def raw_exchange(rest: Address) -> Callable[[bytes], httpx.Response]:
    return partial(exchange, rest)


def unchanged(config: Config) -> Config:
    return config


def command(name: str) -> list[str]:
    return [sys.executable, "-m", "mentorsync", name]


@contextmanager
def separate_gateway(run: Run, settings: dict[str, str], change: Change = unchanged) -> Iterator[Envoy]:
    with subprocess.Popen(command("serve"), env=os.environ | settings, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            host, _, port = json.loads(server.stdout.readline())["grpc"].rpartition(":")
            config = with_pages(change(separate(FREE_PORT, FREE_PORT, [(host, int(port))])))
            with running_gateway(run, config) as gateway:
                yield gateway
        finally:
            server.send_signal(signal.SIGINT)  # no other server takes over


def settings_for(database_url: str) -> dict[str, str]:
    """The settings of a server on free ports, and on a database that this gives its schema."""
    settings = {
        "MENTORSYNC_DATABASE_URL": database_url,
        "MENTORSYNC_METRICS_ADDRESS": "127.0.0.1:0",
        "MENTORSYNC_GRPC_ADDRESS": "127.0.0.1:0",
    }
    subprocess.run(command("migrate"), env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
    return settings


@contextmanager
def embedded_gateway(
    run: Run,
    settings: dict[str, str],
    application: str = "mentorsync.embedded:app",
    change: Change = unchanged,
) -> Iterator[Envoy]:
    with tempfile.TemporaryDirectory() as directory:
        socket = str(Path(directory, "health.sock"))
        config = with_pages(change(embedded(application, FREE_PORT, FREE_PORT, FREE_PORT, socket)))
        environment = embedded_environment() | settings | {HEALTH_SOCKET_VARIABLE: socket}
        with running_gateway(run, config, environment) as gateway:
            yield gateway


def wait_until_healthy(service: Service) -> None:
    """Returns once Envoy has asked the health service."""
    wait_for_status(f"{service.url}/healthz", httpx.codes.OK)


def exchange(rest: Address, request: bytes) -> httpx.Response:
    """Sends bytes as they are, unlike any client library, and reads the answer up to the end of its body."""
    with socket.create_connection(rest, timeout=EXCHANGE_SECONDS) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            headers = [line.rstrip(b"\r\n").split(b": ", 1) for line in iter(stream.readline, b"\r\n")]
            body = stream.read(int(dict(headers)[b"content-length"]))
            return httpx.Response(status, headers=[(name, value) for name, value in headers], content=body)


class StubServer:
    """A gRPC server that does what a test says, in place of the real one. `answer` gets the call's context."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.answer: Callable[[grpc.ServicerContext], bytes] = lambda _context: b""
        self.metadata: list[Mapping[str, Any]] = []  # of the calls that came, in order
        self.health = health.HealthServicer()
        self.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(self._handle) for name in METHODS
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        target = f"{host}:{port}"
        bound = (
            self._server.add_secure_port(target, credentials) if credentials else self._server.add_insecure_port(target)
        )
        self.address: Address = (host, bound)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _handle(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        return self.answer(context)


@contextmanager
def running_stub(*address: Any) -> Iterator[StubServer]:
    server = StubServer(*address)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with running_stub() as server:
        yield server


@pytest.fixture
def other_stub() -> Iterator[StubServer]:
    with running_stub() as server:
        yield server


@pytest.fixture
def stub_beside(stub: StubServer) -> Iterator[StubServer]:
    """On the same port as `stub`, at another address."""
    with running_stub("127.0.0.2", stub.address[1]) as server:
        yield server


@pytest.fixture
def released() -> Iterator[Event]:
    """What a stub's call may wait for; set at the latest when the test ends."""
    event = Event()
    try:
        yield event
    finally:
        event.set()


@pytest.fixture
def dead_address() -> Iterator[Address]:
    """An address where nobody listens."""
    with hold_port() as holder:
        yield holder.getsockname()


@pytest.fixture
def start_gateway(run: Run) -> Iterator[Callable[[Config], Envoy]]:
    """Starts gateways that end with the test."""
    with ExitStack() as stack:
        yield lambda config: stack.enter_context(running_gateway(run, config))
