"""The one service of the embedded mode, on an event loop and thread of its own, for callers on other event loops."""

import asyncio
import logging
import os
import threading
import traceback
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from mentorsync import logs, runtime
from mentorsync.config import (
    DATABASE_URL,
    HEALTH_SOCKET_VARIABLE,
    JWT_ISSUER,
    LOG_LEVEL,
    METRICS_ADDRESS,
    STREAMS_PER_ADDRESS,
    SettingsError,
    resolve,
)
from mentorsync.parts import PartEndedError
from mentorsync.rpc.service import Service

if TYPE_CHECKING:
    from mentorsync.app import Server

SETTINGS = (DATABASE_URL, METRICS_ADDRESS, JWT_ISSUER, STREAMS_PER_ADDRESS, LOG_LEVEL)
EXIT_FAILED = 1  # as of `mentorsync serve`: what started Envoy should start it again

logger = logging.getLogger(__name__)


class SharedService:
    """Opens the service for the first user and closes it after the last one. Users are threads.

    The service has a thread of its own, because no user's thread lives as long as the service must: Envoy waits for the
    end of one listener's lifespan and thread before it ends the next.
    """

    service: Service  # while it is used

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: ServiceThread | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Waits until the service is open. Raises SettingsError or StorageError if it cannot be opened.

        The calling thread's use of the database ends with the body.
        """
        server = self._enter()
        try:
            yield
        finally:
            server.close_connection()
            self._leave()

    def _enter(self) -> "Server":
        with self._lock:
            if self._thread is None:
                self._thread = ServiceThread()
            thread = self._thread
            server = thread.opened.result()  # every user gets the failure of a start
            self._users += 1
        self.service = server.service
        return server

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._thread:
                self._thread.close()
                self._thread = None


class ServiceThread:
    """The thread in which the service is opened, watched and closed. `opened` has the server or the failure."""

    def __init__(self) -> None:
        self.opened: Future[Server] = Future()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Closes the service, and waits for the end of its thread."""
        logger.info("stopping: finishing accepted calls")
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        import uvloop  # noqa: PLC0415 - only this mode needs it here

        try:
            uvloop.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whatever it is, callers wait for it, or the process must end
            if not self.opened.done():
                self.opened.set_exception(error)
                return
            if not isinstance(error, PartEndedError):  # the log has the end of a part
                traceback.print_exc()
            os._exit(EXIT_FAILED)  # ends Envoy too, at once: it would go on without a service. Our log is complete.

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        async with opened_server() as server:
            self.opened.set_result(server)
            await self._closing.wait()


@asynccontextmanager
async def opened_server() -> AsyncIterator["Server"]:
    """The server of this process, as the environment's settings want it. Cancels the body if a part of it dies."""
    settings = resolve(Namespace(), SETTINGS)
    socket = os.environ.get(HEALTH_SOCKET_VARIABLE)
    if not socket:
        raise SettingsError(f"{HEALTH_SOCKET_VARIABLE} must be the path of a Unix socket")
    runtime.prepare()
    from mentorsync.app import running  # noqa: PLC0415 - imports grpc and Peewee

    async with AsyncExitStack() as stack:
        call_log = logs.set_up(settings.log_level, _log_descriptor())
        stack.callback(call_log.close)
        yield await stack.enter_async_context(running(settings, call_log, socket))


def _log_descriptor() -> int:
    """The pipe that the supervisor made for this log. Envoy's own pipes have Envoy's lines, which ours could tear."""
    return int(os.environ.get(logs.DESCRIPTOR_VARIABLE, logs.STANDARD_ERROR))
