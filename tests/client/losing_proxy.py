"""A proxy whose answers can get lost: the request is delivered, and the connection breaks before its answer."""

import socket
import threading
from contextlib import suppress
from typing import Self

CHUNK_BYTES = 65_536


class LosingProxy:
    """Forwards connections to a server. From `swallow_answers` on nothing comes back, until `cut` closes everything.

    `silence` leaves the open connections open, but forwards nothing more on them. Later connections are forwarded.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._swallows = threading.Event()
        self._sockets: list[socket.socket] = []
        self._silent: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        _close(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join()

    def swallow_answers(self) -> None:
        self._swallows.set()

    def silence(self) -> None:
        self._silent.update(self._sockets)

    def cut(self) -> None:
        for end in self._sockets:
            _close(end)
        self._swallows.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for source, sink, is_answer in ((client, server, False), (server, client, True)):
                    self._threads.append(threading.Thread(target=self._forward, args=(source, sink, is_answer)))
                    self._threads[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if source not in self._silent and not (is_answer and self._swallows.is_set()):
                    sink.sendall(chunk)
        _close(sink)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
