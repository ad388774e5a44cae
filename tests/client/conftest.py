"""Both clients in front of the same tests, and the real service for them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mentorstatus_client import AsyncMentorStatusSyncClient, FeedMessage, MentorStatusSyncClient, SyncEvent

from tests.grpc_client import OWN_CONNECTION, Connect
from tests.rest.conftest import StubServer, running_stub
from tests.server_process import Database, ServerProcess, address_of, hold_port, wait_until
from tests.up_process import EmbeddedServer, UpProcess

NUMBERS = count()
OpenClient = Callable[..., Any]  # takes a target and the settings of a client


class Threaded:
    """The plain client with the methods of the other one: each call runs in a thread."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._client = MentorStatusSyncClient(*arguments, **settings)

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await asyncio.to_thread(getattr(self._client, name), *arguments, **options)

        return call

    async def iter_sync_events(self, **options: Any) -> AsyncIterator[SyncEvent]:
        events = self._client.iter_sync_events(**options)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    async def watch(self, **options: Any) -> AsyncIterator[FeedMessage]:
        messages: Any = self._client.watch(**options)
        try:
            while True:
                yield await asyncio.to_thread(next, messages)
        finally:
            messages.close()


class Restartable:
    """`mentorsync up` that can be killed and started again at the same address."""

    def __init__(self, folder: Path, grpc: str) -> None:
        self.database = Database(folder / "mentorsync.db")
        self.grpc = grpc
        self._start = lambda: UpProcess(self.database, folder / "up.log", (), grpc_address=grpc)
        self._up = self._start()

    def recorded(self) -> set[str]:
        return {event_id for (event_id,) in self.database.execute("SELECT sync_event_id FROM events")}

    def kill(self) -> None:
        parts = self._up.parts
        self._up.signal(signal.SIGKILL)
        self._up.end()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in parts), "the end of its parts")

    def restart(self) -> None:
        self.kill()
        self._up = self._start()


@pytest.fixture(params=[Threaded, AsyncMentorStatusSyncClient], ids=["plain", "asyncio"])
async def open_client(request: pytest.FixtureRequest, connect: Connect) -> AsyncIterator[OpenClient]:  # noqa: ARG001 - it keeps one event loop
    """Opens clients of one kind, with connections of their own, and closes them when the test ends."""
    async with AsyncExitStack() as stack:

        def open_one(target: str, *, options: Any = (), **settings: Any) -> Any:
            client = request.param(target, options=(*OWN_CONNECTION, *options), **settings)
            stack.push_async_callback(client.close)
            return client

        yield open_one


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The service as it runs by default, for all tests that do not harm it."""
    folder = tmp_path_factory.mktemp("service")
    database = Database(folder / "mentorsync.db")
    database.migrate()
    server = EmbeddedServer(database, folder / "server.log")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    with hold_port() as holder:
        up = Restartable(tmp_path_factory.mktemp("up"), address_of(holder))
        yield up
        up.kill()


@pytest.fixture
async def client(open_client: OpenClient, service: ServerProcess) -> Any:
    """A client of the service. It is a coroutine because grpc.aio opens a channel on the running event loop."""
    return open_client(service.grpc)


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A server that answers as a test says."""
    with running_stub() as server:
        yield server


@pytest.fixture
def mentor_id() -> str:
    """A mentor that no other test uses."""
    return f"mntr_{next(NUMBERS)}"


def target(stub: StubServer) -> str:
    host, port = stub.address
    return f"{host}:{port}"


def stored(database: Database, mentor_id: str) -> list[tuple[str]]:
    return database.execute(f"SELECT sync_event_id FROM events WHERE mentor_id = '{mentor_id}'")  # noqa: S608 - a test's own
