"""HTTP/2 frames, byte by byte: no client library would send what an attacker sends. See RFC 9113 and RFC 7541."""

from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING = 1, 3, 4, 6
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4  # a setting: how much of each answer the server may send unasked
CANCEL = (8).to_bytes(4, "big")
AUTHORITY, METHOD_GET, PATH, SCHEME_HTTP = 1, 2, 4, 6  # entries of HPACK's static table


class Request(NamedTuple):
    """A GET request as HPACK encodes it, without its table of recent headers: each request is the same bytes."""

    path: str

    def encoded(self) -> bytes:
        return bytes([0x80 | METHOD_GET, 0x80 | SCHEME_HTTP]) + _literal(PATH, self.path) + _literal(AUTHORITY, "x")

    def frame(self, stream: int, flags: int = END_STREAM | END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream, self.encoded())


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def opening(window: int = 65_535) -> bytes:
    """What a client sends first. `window` bounds how much of each answer the server may send."""
    return PREFACE + frame(SETTINGS, payload=INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big"))


def _literal(name: int, value: str) -> bytes:
    """A header that is not added to the table. Its value must be shorter than 127 bytes."""
    return bytes([name, len(value)]) + value.encode()
