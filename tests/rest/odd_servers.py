"""Servers with unusual behaviour: a DNS server with fixed answers, and an HTTP/2 server that refuses every request."""

import socket
import socketserver
import struct
from threading import Thread
from typing import Any, Self

from mentorsync_gateway.config import Address

DNS_HEADER_BYTES = 12
TYPE_A = b"\x00\x01"
POINTER_TO_QUESTION = b"\xc0\x0c"
HTTP2_PREFACE_BYTES = 24
FRAME_HEADER_BYTES = 9
HEADERS, RST_STREAM, SETTINGS, PING = 1, 3, 4, 6
ACK = 1
REFUSED_STREAM = 7


class _ServerThread:
    """A context manager that runs a server in its own thread."""

    server: socketserver.BaseServer

    @property
    def address(self) -> Address:
        address: Address = self.server.server_address  # type: ignore[assignment]  # IPv4
        return address

    def __enter__(self) -> Self:
        self._thread = Thread(target=self.server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class NameServer(_ServerThread):
    """A DNS server (RFC 1035, section 4.1). Queries for IPv4 addresses get the given ones, others get none."""

    def __init__(self, *addresses: str) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                query, connection = self.request
                connection.sendto(_dns_answer(query, addresses), self.client_address)

        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)


def _dns_answer(query: bytes, addresses: tuple[str, ...]) -> bytes:
    end = query.index(b"\0", DNS_HEADER_BYTES) + 1
    question = query[DNS_HEADER_BYTES : end + 4]
    found = addresses if query[end : end + 2] == TYPE_A else ()
    header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
    record = POINTER_TO_QUESTION + struct.pack("!HHIH", 1, 1, 60, 4)
    return header + question + b"".join(record + socket.inet_aton(address) for address in found)


class RefusingServer(_ServerThread):
    """Refuses every HTTP/2 stream (RFC 9113, sections 6 and 8.7). refused: the ids of these streams."""

    def __init__(self) -> None:
        refused: list[int] = []
        self.refused = refused

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.rfile.read(HTTP2_PREFACE_BYTES)
                self.wfile.write(_frame(SETTINGS))
                while len(header := self.rfile.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
                    kind, flags, stream = struct.unpack("!BBI", header[3:])
                    payload = self.rfile.read(int.from_bytes(header[:3], "big"))
                    if kind in (SETTINGS, PING) and not flags & ACK:
                        self.wfile.write(_frame(kind, ACK, payload=payload if kind == PING else b""))
                    elif kind == HEADERS:
                        refused.append(stream)
                        self.wfile.write(_frame(RST_STREAM, 0, stream, struct.pack("!I", REFUSED_STREAM)))

        server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.server = server


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack("!BBI", kind, flags, stream) + payload
