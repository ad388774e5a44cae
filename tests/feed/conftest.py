"""Services with the live feed, in both modes and on both engines, and receivers over both transports."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import NamedTuple

import grpc
import httpx
import pytest
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub
from mentorsync_gateway.config import separate

from tests.databases import Databases
from tests.feed.receivers import Receiver, sse, watch
from tests.grpc_client import Connect
from tests.rest.conftest import (
    FREE_PORT,
    Run,
    embedded_gateway,
    fresh_file,
    run,  # noqa: F401 - a fixture
    running_gateway,
    settings_for,
    wait_until_healthy,
)
from tests.rest.conftest import Service as RestService

APPLICATION = "tests.feed.short_limits"
NUMBERS = count(1)
Open = Callable[..., AbstractAsyncContextManager[Receiver]]


class Service(NamedTuple):
    """Where a service serves REST and gRPC, and the URL of its database."""

    url: str
    grpc: str
    database_url: str


@contextmanager
def embedded_service(run: Run, database_url: str, **variables: str) -> Iterator[Service]:  # noqa: F811 - the fixture's value
    with embedded_gateway(run, settings_for(database_url) | variables, f"{APPLICATION}:app") as gateway:
        rest, internal = gateway.addresses["rest"], gateway.addresses["service_grpc"]
        wait_until_healthy(RestService("embedded", rest))
        yield Service(f"http://{rest[0]}:{rest[1]}", f"{internal[0]}:{internal[1]}", database_url)


@contextmanager
def separate_service(run: Run, database_url: str, **variables: str) -> Iterator[Service]:  # noqa: F811 - as above
    command = [sys.executable, "-m", APPLICATION, "serve"]
    environment = os.environ | settings_for(database_url) | variables
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            internal = json.loads(server.stdout.readline())["grpc"]
            host, _, port = internal.rpartition(":")
            with running_gateway(run, separate(FREE_PORT, FREE_PORT, [(host, int(port))])) as gateway:
                rest = gateway.addresses["rest"]
                wait_until_healthy(RestService("separate", rest))
                yield Service(f"http://{rest[0]}:{rest[1]}", internal, database_url)
        finally:
            server.send_signal(signal.SIGINT)


MODES = {"embedded": embedded_service, "separate": separate_service}


@pytest.fixture(scope="module", params=["embedded-sqlite", "separate-sqlite", "embedded-postgres"])
def service(request: pytest.FixtureRequest, run: Run, databases: Databases) -> Iterator[Service]:  # noqa: F811 - as above
    """Shared by a module's tests: each uses mentors of its own."""
    mode, _, engine = request.param.partition("-")
    with ExitStack() as stack:
        database_url = stack.enter_context(databases.fresh() if engine == "postgres" else fresh_file())
        yield stack.enter_context(MODES[mode](run, database_url, MENTORSYNC_STREAMS_PER_ADDRESS="1000"))


@pytest.fixture
async def channel(service: Service, connect: Connect) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(service.grpc) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> MentorStatusSyncStub:
    return MentorStatusSyncStub(channel)


@pytest.fixture(params=["sse", "grpc"])
def receive(request: pytest.FixtureRequest, service: Service, channel: grpc.aio.Channel) -> Open:
    """Opens a stream with the given fields."""
    return partial(sse, service.url) if request.param == "sse" else partial(watch, channel)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        yield client


@pytest.fixture
def mentor_id() -> str:
    """A mentor that no other test uses."""
    return f"mntr_{next(NUMBERS)}"


@pytest.fixture
def other_mentor_id() -> str:
    return f"mntr_{next(NUMBERS)}"
