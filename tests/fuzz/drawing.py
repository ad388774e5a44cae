"""Draws requests that no client library would send. A seed repeats them."""

import json
from random import Random
from typing import Any
from urllib.parse import quote

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from tests.contract import BASE

ROUTES = (
    ("GET", BASE),
    ("GET", f"{BASE}/{{}}"),
    ("POST", f"{BASE}/events"),
    ("PUT", f"{BASE}/events/{{}}"),
    ("DELETE", f"{BASE}/events/{{}}"),
)
OTHER_PATHS = ("/healthz", "/docs", "/openapi.yaml", "/{}")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "PURGE")
IDS = ("mntr_01HX4V2K8P", "evt_XP2KL9RQ", "mntr_", "evt_" + "A" * 41, "events")
QUERY_NAMES = ("page", "limit", "mentor_id", "mentorId", "access_token", "")
FIELDS = ("event_type", "mentor_id", "reason", "client_timestamp", "acknowledged", "sync_event_id", "eventType")
VALID = {"event_type": "PauseMentorEvent", "mentor_id": "mntr_01HX4V2K8P", "acknowledged": True}
FIELD_VALUES = (
    *(
        "PauseMentorEvent",
        "ResumeMentorEvent",
        "mntr_01HX4V2K8P",
        "2026-03-26T09:14:55Z",
        "9999-12-31T23:59:59.999999999Z",
    ),
    *(
        "0001-01-01T00:00:00Z",
        "x" * 501,
        "\0",
        "\ud800",
        "\u202e",
        "💥" * 500,
        "",
        "true",
        True,
        None,
        -1,
        2**64,
        1e308,
    ),
)
HEADERS = (
    *("idempotency-key", "content-type", "x-request-id", "accept", "accept-encoding", "grpc-timeout", "grpc-encoding"),
    *(
        "x-bin",
        "grpc-status",
        "te",
        "authorization",
        "traceparent",
        "if-none-match",
        "origin",
        "x-forwarded-for",
        "cookie",
    ),
    *("x-mentorsync-scope", "user_agent", "range", "content-encoding"),
)
HEADER_VALUES = (
    b"application/grpc",
    b"application/json",
    b"gzip",
    b"1S",
    b"-1n",
    b"***",
    b"key",
    b"*",
    b"",
    b"\xff\xfe",
)
MOST_BYTES = 300
LONG_BYTES = 20_000  # over every limit of bodies and headers
MESSAGES = (
    pb.ListSyncEventsRequest(page=1, limit=100, mentor_id="mntr_01HX4V2K8P"),
    pb.GetMentorStatusRequest(mentor_id="mntr_01HX4V2K8P"),
    pb.SubmitEventRequest(event_type=pb.PauseMentorEvent, mentor_id="mntr_01HX4V2K8P", reason="Taking a short break"),
    pb.UpdateEventRequest(sync_event_id="evt_XP2KL9RQ", acknowledged=True, reason="Corrected"),
    pb.DeleteEventRequest(sync_event_id="evt_XP2KL9RQ"),
)


def draw_bytes(random: Random) -> bytes:
    return random.randbytes(LONG_BYTES if random.random() < 0.01 else random.randrange(MOST_BYTES))


def draw_http_request(random: Random) -> bytes:
    """A request whose end can be found. All else in it may be wrong."""
    method, path = draw_route(random)
    body = draw_body(random)
    head = f"{method} {path}{draw_query(random)} HTTP/1.1\r\nhost: fuzz\r\ncontent-length: {len(body)}\r\n".encode()
    return head + b"".join(draw_header(random) for _ in range(random.randrange(4))) + b"\r\n" + body


def draw_route(random: Random) -> tuple[str, str]:
    """Mostly the method and the path of a call, so that the rest of the request is looked at."""
    method, path = random.choice(ROUTES)
    if random.random() < 0.1:
        method = random.choice(METHODS)
    if random.random() < 0.1:
        path = random.choice(OTHER_PATHS)
    name = quote(draw_bytes(random), safe="") if random.random() < 0.2 else random.choice(IDS)
    return method, path.format(name)


def draw_query(random: Random) -> str:
    count = random.choice([0, 0, 1, 2])
    pairs = [f"{random.choice(QUERY_NAMES)}={_draw_query_value(random)}" for _ in range(count)]
    return f"?{'&'.join(pairs)}" if pairs else ""


def _draw_query_value(random: Random) -> str:
    return random.choice([str(random.randint(-2, 2**33)), random.choice(IDS), quote(draw_bytes(random), safe="&=")])


def draw_header(random: Random) -> bytes:
    value = random.choice(HEADER_VALUES) if random.random() < 0.7 else _visible(draw_bytes(random))
    return random.choice(HEADERS).encode() + b": " + value + b"\r\n"


def _visible(value: bytes) -> bytes:
    """What a header may hold: no control characters, which would end it."""
    return bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)


def draw_body(random: Random) -> bytes:
    kind = random.randrange(10)
    if kind == 0:
        return b""
    if kind > 5:
        return json.dumps(VALID | {random.choice(FIELDS): _draw_value(random)}).encode()
    if kind == 1:
        return draw_bytes(random)
    if kind == 2:
        return b"[" * random.randrange(2_000)
    text = json.dumps(_draw_json(random), ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
    return mutate(random, text) if kind == 3 else text


def _draw_json(random: Random) -> Any:
    names = random.sample(FIELDS, random.randrange(1, len(FIELDS)))
    return {name: _draw_value(random) for name in names}


def _draw_value(random: Random) -> Any:
    if random.random() < 0.1:
        return random.choice([[], {}, [_draw_json(random)], _draw_json(random)])
    return random.choice(FIELD_VALUES)


def mutate(random: Random, data: bytes) -> bytes:
    """Changes, inserts, removes, or repeats bytes at one to four places."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.randrange(8))
        part = random.choice([b"", random.randbytes(end - start), random.randbytes(4), data[start:end] * 2])
        data = data[:start] + part + data[end:]
    return data


def draw_message(random: Random) -> bytes:
    """A protobuf message, perhaps of another method, perhaps none at all."""
    if random.random() < 0.2:
        return draw_bytes(random)
    message = random.choice(MESSAGES).SerializeToString()
    return message if random.random() < 0.3 else mutate(random, message)
