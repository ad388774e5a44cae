"""A proxy in front of PostgreSQL that fails at COMMIT: before it is sent, before its answer, or by silence.

See https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import socket
import struct
import threading
from contextlib import suppress

from tests.storage.proxy import CHUNK_BYTES, Proxy, close

HEADER_BYTES = 5  # a message's type, and its length (without the type)
UNTYPED_HEADER_BYTES = 8  # the first messages' length and code
ENCRYPTION_REQUESTS = (80_877_103, 80_877_104)  # requests for SSL or GSSAPI, which may precede the start message
PARSE, BIND = b"P", b"B"


class CommitProxy(Proxy):
    """Forwards everything until a COMMIT follows a call of `cut_before_commit` or `cut_before_answer`.

    It then closes that connection, sets `cut`, and accepts no connection until `mend` is called. After `swallow_answer`
    it forwards the COMMIT and no answer: the connection stays open and silent.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.cut = threading.Event()
        self._mended = threading.Event()
        self._mended.set()
        self._pass_commit: bool | None = None
        self._swallows = False
        self._silenced: socket.socket | None = None

    def __exit__(self, *error: object) -> None:
        self._mended.set()
        super().__exit__(*error)

    def cut_before_commit(self) -> None:
        self._arm(pass_commit=False)

    def cut_before_answer(self) -> None:
        self._arm(pass_commit=True)

    def swallow_answer(self) -> None:
        self.cut.clear()
        self._swallows = True

    def mend(self) -> None:
        self._mended.set()

    def _arm(self, *, pass_commit: bool) -> None:
        self.cut.clear()
        self._mended.clear()
        self._pass_commit = pass_commit

    def _before_connecting(self) -> None:
        if self._pass_commit is None:
            self._mended.wait()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        messages = _Messages()
        with suppress(OSError):
            while chunk := client.recv(CHUNK_BYTES):
                if messages.hold_commit(chunk):
                    if self._pass_commit is not None:
                        self._cut(client, server, chunk)
                        return
                    self._swallow(server)
                server.sendall(chunk)
        close(server)

    def _cut(self, client: socket.socket, server: socket.socket, chunk: bytes) -> None:
        passed, self._pass_commit = self._pass_commit, None
        close(client)  # the server's answer is lost
        if passed:
            server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)  # the server reads all data before it sees the end
        else:
            close(server)
        self.cut.set()

    def _swallow(self, server: socket.socket) -> None:
        if self._swallows:
            self._swallows = False
            self._silenced = server
            self.cut.set()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                if server is not self._silenced:
                    client.sendall(chunk)
        close(client)


class _Messages:
    """Parses what one client sends, to find COMMIT: as text, or as a prepared statement."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_started = False
        self._commits: set[bytes] = set()

    def hold_commit(self, chunk: bytes) -> bool:
        """Whether the messages that this chunk completes contain a COMMIT."""
        self._rest += chunk
        found = False
        while not self._is_started and len(self._rest) >= UNTYPED_HEADER_BYTES:
            length, code = struct.unpack("!ii", self._rest[:UNTYPED_HEADER_BYTES])
            self._is_started = code not in ENCRYPTION_REQUESTS
            self._rest = self._rest[length:]
        while len(self._rest) >= HEADER_BYTES:
            end = 1 + int.from_bytes(self._rest[1:HEADER_BYTES], "big")
            if len(self._rest) < end:
                break
            found |= self._is_commit(self._rest[:1], self._rest[HEADER_BYTES:end])
            self._rest = self._rest[end:]
        return found

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        first, second, *_ = (*body.split(b"\0"), b"", b"")
        if kind == PARSE:
            if second == b"COMMIT":
                self._commits.add(first)
            else:
                self._commits.discard(first)
        return kind == BIND and second in self._commits
