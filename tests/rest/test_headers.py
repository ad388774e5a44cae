"""Headers of callers: none of them changes an answer, although the service receives them as gRPC metadata."""

import httpx
import pytest

from tests.contract import BASE

Header = tuple[bytes, bytes]

HEADERS: dict[str, list[Header]] = {
    "a binary header that is not base64": [(b"x-bin", b"***")],
    "a binary header that is base64": [(b"trace-bin", b"AAEC")],
    "a header of gRPC's context": [(b"grpc-trace-bin", b"*"), (b"grpc-tags-bin", b"*")],
    "the status of an answer": [(b"grpc-status", b"x")],
    "the message of an answer": [(b"grpc-message", b"%")],
    "a number of attempts": [(b"grpc-previous-rpc-attempts", b"x")],
    "a pushback": [(b"grpc-retry-pushback-ms", b"x")],
    "an unknown encoding": [(b"grpc-encoding", b"x"), (b"grpc-accept-encoding", b"x")],
    "a request for compression inside grpc": [(b"grpc-internal-encoding-request", b"gzip")],
    "a deadline that has passed": [(b"grpc-timeout", b"1n")],
    "a deadline that is none": [(b"grpc-timeout", b"soon")],
    "an encoded body": [(b"content-encoding", b"gzip")],
    "a name that gRPC does not allow": [(b"X#y|z", b"a"), (b"a!b", b""), (b"~", b"a")],
    "a load balancer's header": [(b"lb-cost-bin", b"*"), (b"endpoint-load-metrics-bin", b"*")],
    "te": [(b"te", b"gzip")],
    "an empty value": [(b"x-empty", b"")],
    "bytes beyond ASCII": [(b"x-name", b"Zo\xc3\xab"), (b"x-other", b"\xff\xfe")],
    "a tab": [(b"x-tab", b"a\tb")],
    "one name many times": [(b"x-many", b"a")] * 50,
    "one large value": [(b"authorization", b"x" * 14_000)],
    "many large values": [(b"x-%d" % number, b"x" * 1_400) for number in range(10)],
    "many headers": [(b"x-%d" % number, b"") for number in range(80)],
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_header_changes_no_answer(client: httpx.Client, headers: list[Header]) -> None:
    """Neither that of a read nor that of a write, however often it is sent."""
    body = {"event_type": "PauseMentorEvent", "mentor_id": "mntr_1"}
    for _ in range(3):
        assert client.get(BASE, headers=headers).status_code == httpx.codes.OK
        assert client.post(f"{BASE}/events", headers=headers, json=body).status_code == httpx.codes.OK
