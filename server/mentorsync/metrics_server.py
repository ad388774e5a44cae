"""Serves /metrics over HTTP, on a thread of its own."""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

logger = logging.getLogger(__name__)


class RequestHandler(WSGIRequestHandler):
    timeout = 5.0  # seconds without a byte of the request; each open connection has a thread and a descriptor

    def log_message(self, *_arguments: object) -> None:
        """Logs nothing: a request for the metrics comes every few seconds."""


class MetricsServer(ThreadingWSGIServer):
    """Listens from its construction on, or raises OSError. If an exception ends its thread, `ended` gets it."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), RequestHandler)
        self.set_app(make_wsgi_app(registry))
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        thread = Thread(target=self._run, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.shutdown)
            self.server_close()
            thread.join()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Logs the failure of one request, for example because the caller disconnected."""
        logger.warning("a request for /metrics from %s failed", client_address[0], exc_info=sys.exception())

    def _run(self) -> None:
        try:
            self.serve_forever()
        except BaseException as error:  # noqa: BLE001 - the thread ends here, and its watcher raises the exception again
            self._loop.call_soon_threadsafe(self.ended.set_exception, error)
