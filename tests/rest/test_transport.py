"""HTTP behaviour around the calls: protocols, request ids, malformed requests, and gRPC on the REST listener."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import BinaryIO

import grpc
import httpx
import pytest
from mentorsync_gateway.config import Address

from tests.contract import BASE

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HTTP2_DATA, HTTP2_HEADERS, HTTP2_SETTINGS = 0, 1, 4
HTTP2_END_STREAM, HTTP2_END_HEADERS = 1, 4

RawExchange = Callable[[bytes], httpx.Response]

PATHS_OF_ANSWERS = [BASE, f"{BASE}/mntr_nobody", f"{BASE}?page=x", f"{BASE}/events", "/nowhere", "/healthz"]


def test_healthz_answers_200_for_a_healthy_service(client: httpx.Client) -> None:
    """A query does not change the answer."""
    assert client.get("/healthz").status_code == 200
    assert client.get("/healthz?verbose").status_code == 200


@pytest.mark.parametrize("path", PATHS_OF_ANSWERS)
def test_every_answer_has_a_request_id(client: httpx.Client, path: str) -> None:
    """Each answer has a new id, both answers of the server and answers of the gateway."""
    first, second = (client.get(path).headers["x-request-id"] for _ in range(2))
    assert UUID.fullmatch(first)
    assert first != second


@pytest.mark.parametrize("path", PATHS_OF_ANSWERS)
def test_the_request_id_of_a_caller_is_kept(client: httpx.Client, path: str) -> None:
    """The answer has the caller's id, even if that id looks like one of Envoy's."""
    for request_id in ("phone-7", "11111111-2222-4333-8444-555555555555"):
        assert client.get(path, headers={"x-request-id": request_id}).headers["x-request-id"] == request_id


MALFORMED = {
    "not HTTP": b"HELLO\r\n\r\n",
    "missing host": f"GET {BASE} HTTP/1.1\r\n\r\n".encode(),
    "two hosts": f"GET {BASE} HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n".encode(),
    "a path with bytes that are not UTF-8": f"GET {BASE}/mntr_".encode() + b"\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path with unescaped UTF-8": f"GET {BASE}/mntr_ö HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "a fragment": f"GET {BASE}#top HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "an unknown method": f"SYNC {BASE} HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "a negative length": f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".encode(),
    "two lengths": f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n".encode(),
    "both a length and chunks": (
        f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ).encode(),
    "a broken chunk": (
        f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nsize\r\n\r\n"
    ).encode(),
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_answered_in_the_error_shape(raw_exchange: RawExchange, request_bytes: bytes) -> None:
    """The answer is 400 and has a request id, although Envoy could not parse the request."""
    response = raw_exchange(request_bytes)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert UUID.fullmatch(response.headers["x-request-id"])
    body = response.json()
    assert body == {"code": 3, "message": body["message"], "details": []}
    assert body["message"]


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 404, 5),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n", 404, 5),
        (f"GET {BASE} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".encode(), 403, 7),
        (f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n".encode(), 501, 12),
        (f"POST {BASE}/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: unknown\r\n\r\n".encode(), 501, 12),
    ],
    ids=["asterisk", "CONNECT", "WebSocket", "a doubled transfer coding", "an unknown transfer coding"],
)
def test_an_unusual_request_is_answered_in_the_error_shape(
    raw_exchange: RawExchange, request_bytes: bytes, status: int, code: int
) -> None:
    """The gateway neither proxies nor upgrades such a request."""
    response = raw_exchange(request_bytes)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["message"]
    assert response.headers["x-request-id"]


def test_http_1_0_is_served(raw_exchange: RawExchange) -> None:
    """Simple health checkers use HTTP/1.0 and send no host."""
    assert raw_exchange(b"GET /healthz HTTP/1.0\r\n\r\n").status_code == 200
    assert raw_exchange(f"GET {BASE} HTTP/1.0\r\n\r\n".encode()).status_code == 200


def test_lines_may_end_with_a_bare_line_feed(raw_exchange: RawExchange) -> None:
    """RFC 9112 allows a server to take them, and Envoy has no option to refuse them."""
    assert raw_exchange(b"GET /healthz HTTP/1.1\nhost: x\n\n").status_code == 200


def test_http_2_without_tls_is_served(rest: Address) -> None:
    """A client with prior knowledge can use HTTP/2 on the same port. The answer is the same."""
    request_headers = b"\x82\x86" + hpack_literal(4, f"{BASE}?limit=1") + hpack_literal(1, "x")  # RFC 7541, appendix A
    frames = http2_exchange(rest, request_headers)
    assert frames[HTTP2_HEADERS].startswith(b"\x88")  # :status 200
    assert frames[HTTP2_DATA].startswith(b'{"data":[')


def test_an_unknown_method_over_http_2_is_a_wrong_method(rest: Address) -> None:
    """Over HTTP/1.1 it is malformed, because Envoy's parser knows all methods."""
    method = bytes([0x02, 4]) + b"SYNC"  # a literal value for the name of entry 2, :method
    request_headers = method + b"\x86" + hpack_literal(4, BASE) + hpack_literal(1, "x")
    frames = http2_exchange(rest, request_headers)
    assert json.loads(frames[HTTP2_DATA]) == {"code": 12, "message": "method not allowed on this path", "details": []}


@pytest.mark.parametrize("method", ["ListSyncEvents", "SubmitEvent", "Nothing"])
def test_raw_grpc_is_not_served_on_the_rest_listener(rest: Address, method: str) -> None:
    """A gRPC caller gets UNIMPLEMENTED for every method."""
    assert_unreachable(rest, f"/mentorstatus.v1.MentorStatusSync/{method}")


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        f"{BASE}/events",
    ],
)
def test_internal_grpc_services_are_not_served_on_the_rest_listener(rest: Address, path: str) -> None:
    """Health and reflection are internal. The contract's paths do not accept gRPC either."""
    assert_unreachable(rest, path)


def assert_unreachable(rest: Address, path: str) -> None:
    with grpc.insecure_channel(f"{rest[0]}:{rest[1]}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        refused = call.future(b"", timeout=20)
        assert refused.code() == grpc.StatusCode.UNIMPLEMENTED
    assert refused.details() == f"no such path: calls are under {BASE}"
    assert "x-request-id" in {name for name, _ in (*refused.initial_metadata(), *refused.trailing_metadata())}


def http2_exchange(rest: Address, request_headers: bytes) -> dict[int, bytes]:
    """Sends one request, and returns the frames of the answer by their kind, up to the first with data."""
    with socket.create_connection(rest, timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(HTTP2_SETTINGS, 0, 0, b""))
        connection.sendall(http2_frame(HTTP2_HEADERS, HTTP2_END_STREAM | HTTP2_END_HEADERS, 1, request_headers))
        with connection.makefile("rb") as stream:
            return dict(http2_frames_until_data(stream))


def hpack_literal(name_index: int, value: str) -> bytes:
    return bytes([name_index, len(value)]) + value.encode()


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http2_frames_until_data(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    kind = HTTP2_SETTINGS
    while kind != HTTP2_DATA:
        length, kind = int.from_bytes(stream.read(3), "big"), stream.read(1)[0]
        stream.read(5)  # flags and stream
        yield kind, stream.read(length)
