"""The one service of the embedded mode, which several lifespans use, each on a thread of its own."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Event, get_ident
from types import SimpleNamespace
from typing import Any

import pytest
from mentorsync import service_thread
from mentorsync.config import HEALTH_SOCKET_VARIABLE, SettingsError
from mentorsync.service_thread import SharedService

WAIT_SECONDS = 10


class Opening:
    """Stands for the opening of the service, which takes until `released` is set."""

    def __init__(self) -> None:
        self.released = Event()
        self.steps: list[str] = []
        self.threads_closed: list[int] = []

    @asynccontextmanager
    async def opened_server(self) -> AsyncIterator[Any]:
        assert self.released.wait(WAIT_SECONDS)
        self.steps.append("opened")
        yield SimpleNamespace(service="service", close_connection=lambda: self.threads_closed.append(get_ident()))
        self.steps.append("closed")


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    opening = Opening()
    monkeypatch.setattr(service_thread, "opened_server", opening.opened_server)
    return opening


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class User:
    """A thread that uses the service until it is `released`."""

    def __init__(self, pool: ThreadPoolExecutor, shared: SharedService) -> None:
        self._shared = shared
        self.entered = Event()
        self.released = Event()
        self.finished = pool.submit(self._use)

    def _use(self) -> int:
        with self._shared.used():
            assert self._shared.service == "service"  # type: ignore[comparison-overlap] # see Opening
            self.entered.set()
            assert self.released.wait(WAIT_SECONDS)
        return get_ident()

    def leave(self) -> int:
        self.released.set()
        return self.finished.result(WAIT_SECONDS)


@pytest.mark.parametrize("order", [1, -1], ids=["first one leaves first", "last one leaves first"])
def test_users_share_one_service(opening: Opening, pool: ThreadPoolExecutor, order: int) -> None:
    """All wait until it is open. It is closed only when the last one has left, whichever that is.

    Each user's connection to the database is closed on the user's own thread.
    """
    shared = SharedService()
    users = [User(pool, shared) for _ in range(2)]
    assert not any(user.entered.is_set() for user in users)
    opening.released.set()
    assert all(user.entered.wait(WAIT_SECONDS) for user in users)
    first, last = users[::order]
    threads = [first.leave()]
    assert opening.steps == ["opened"]
    threads.append(last.leave())
    assert opening.steps == ["opened", "closed"]
    assert opening.threads_closed == threads
    assert len(set(threads)) == 2


def test_the_failure_of_a_start_reaches_every_user(monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
    """Also a user that comes later."""
    monkeypatch.delenv(HEALTH_SOCKET_VARIABLE, raising=False)
    shared = SharedService()
    users = [User(pool, shared) for _ in range(3)]
    for user in users:
        with pytest.raises(SettingsError, match=HEALTH_SOCKET_VARIABLE):
            user.leave()
