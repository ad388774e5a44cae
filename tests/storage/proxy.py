"""A proxy in front of PostgreSQL. It forwards everything; proxies that cause faults extend it."""

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class Proxy:
    """Serves at `url` until the end of the block. Two threads forward each connection, one in each direction."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.lead_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            close(end)
        for thread in self._threads:
            thread.join()

    def lead_to(self, url: str) -> None:
        """Leads the connections that are opened from now on to this server."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._server = (parts.hostname, parts.port)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._before_connecting()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for target, arguments in ((self._forward, (client, server)), (self._back, (server, client))):
                    self._threads.append(threading.Thread(target=target, args=arguments))
                    self._threads[-1].start()

    def _before_connecting(self) -> None:
        """Is called for each connection before that to the server is opened."""

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        copy(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        copy(server, client)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copies until one of the ends closes, and then closes the target."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
    close(target)


def close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
