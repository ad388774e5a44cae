"""The two adapters side by side: the same request has the same outcome on both, down to the metadata."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from tests.grpc.conftest import ADAPTERS
from tests.grpc_client import CALL_SECONDS, SERVICE, Connect, submit
from tests.server_process import Database, ServerProcess

MENTOR_ID = "mntr_01HX4V2K8P"
SNAPSHOT = pb.GetMentorStatusRequest(mentor_id=MENTOR_ID).SerializeToString()
UNKNOWN_MENTOR = pb.GetMentorStatusRequest(mentor_id="mntr_unknown").SerializeToString()
ADDED_BY_ENVOY = "date"  # in the trailing metadata of errors, which come without a message
REQUEST_ID = ("x-request-id", "request-1")


class Request(NamedTuple):
    """A call: its path, the messages that are sent, the metadata, and the options of the client."""

    path: str
    messages: tuple[bytes, ...]
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Outcome(NamedTuple):
    answers: list[bytes]
    code: grpc.StatusCode
    message: str
    trailing: list[tuple[str, str | bytes]]


def of_service(method: str, *messages: bytes, **fields: Any) -> Request:
    return Request(f"/{SERVICE}/{method}", messages, **fields)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """A server of each adapter, on copies of one database."""
    source = Database(tmp_path_factory.mktemp("databases") / "source.db")
    source.migrate()
    source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    running: dict[str, ServerProcess] = {}
    for name, start in ADAPTERS.items():
        path = Path(source.path.with_name(f"{name}.db"))
        path.write_bytes(source.path.read_bytes())
        running[name] = start(Database(path), source.path.with_name(f"{name}.log"))
    yield running
    for server in running.values():
        server.kill()


@pytest.fixture
async def channels(servers: dict[str, ServerProcess], connect: Connect) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    async with connect(servers["grpcio"].grpc) as grpcio, connect(servers["envoy"].grpc) as envoy:
        yield {"grpcio": grpcio, "envoy": envoy}


async def outcome(channel: grpc.aio.Channel, request: Request) -> Outcome:
    """What a caller sees.

    Only the client of a stream can send another number of messages than one. Where one will do it is not used: it
    reports INTERNAL if it is refused while it still sends.
    """
    arguments = {"metadata": (REQUEST_ID, *request.metadata), "timeout": CALL_SECONDS, **request.options}
    answers: list[bytes] = []
    call: Any
    if len(request.messages) == 1:
        unary: Any = channel.unary_unary(request.path)
        call = unary(request.messages[0], **arguments)
    else:
        stream: Any = channel.stream_unary(request.path)
        call = stream(iter(request.messages), **arguments)
    with suppress(grpc.aio.AioRpcError):
        answers.append(await call)
    trailing = sorted((name, value) for name, value in await call.trailing_metadata() if name != ADDED_BY_ENVOY)
    return Outcome(answers, await call.code(), await call.details(), trailing)


EQUAL: dict[str, Request] = {
    "an empty list": of_service("ListSyncEvents", b""),
    "an unknown mentor": of_service("GetMentorStatus", UNKNOWN_MENTOR),
    "bad fields": of_service("SubmitEvent", b""),
    "a bad key": of_service(
        "SubmitEvent", submit(MENTOR_ID).SerializeToString(), metadata=(("idempotency-key", "a b"),)
    ),
    "two keys": of_service(
        "SubmitEvent",
        submit(MENTOR_ID).SerializeToString(),
        metadata=(("idempotency-key", "a"), ("idempotency-key", "b")),
    ),
    "text beyond ASCII in an error": of_service(
        "DeleteEvent", pb.DeleteEventRequest(sync_event_id="ö%\n").SerializeToString()
    ),
    "more bad fields than an answer can hold": of_service(
        "WatchSyncEvents", pb.WatchSyncEventsRequest(mentor_id=[""] * 30_000).SerializeToString()
    ),
    "bytes that are no message": of_service("ListSyncEvents", b"\xff\xff\xff\xff"),
    "an unknown method": of_service("UnknownMethod", SNAPSHOT),
    "an unknown method without a message": of_service("UnknownMethod"),
    "a method's name in other letters": of_service("listsyncevents", b""),
    "an escaped letter": Request(f"/{SERVICE}/%4CistSyncEvents", (b"",)),
    "a path with doubled slashes": Request(f"//{SERVICE}/ListSyncEvents", (b"",)),
    "a path with dots": Request(f"/x/../{SERVICE}/ListSyncEvents", (b"",)),
    "a query": of_service("ListSyncEvents?limit=1", b""),
    "a longer path": of_service("ListSyncEvents/x", b""),
    "no method": of_service("", b""),
    "an unknown service": Request("/mentorstatus.v1.Other/ListSyncEvents", (b"",)),
    "no service": Request("/", (b"",)),
    "a REST path": Request("/api/v1/mentor-status-sync/api/v1/mentor-status-sync", (b"",)),
    "unknown metadata": of_service("GetMentorStatus", UNKNOWN_MENTOR, metadata=(("a_b", "c"), ("d-bin", b"\0\xff"))),
    "much metadata": of_service("GetMentorStatus", UNKNOWN_MENTOR, metadata=(("x-much", "x" * 14_000),)),
    "many entries": of_service("GetMentorStatus", UNKNOWN_MENTOR, metadata=tuple((f"x-{n}", "") for n in range(80))),
}
SAME_CODE: dict[str, Request] = {
    "a message that is too large": of_service("ListSyncEvents", b"\0" * 70_000),
    "a compressed message": of_service(
        "ListSyncEvents", b"\x0a\x06mntr_1" * 100, options={"compression": grpc.Compression.Gzip}
    ),
}


@pytest.mark.parametrize("request_", EQUAL.values(), ids=EQUAL)
async def test_both_adapters_answer_alike(channels: dict[str, grpc.aio.Channel], request_: Request) -> None:
    """Answers, code, message, details and metadata."""
    seen = {name: await outcome(channel, request_) for name, channel in channels.items()}
    assert seen["envoy"] == seen["grpcio"]
    assert REQUEST_ID in seen["envoy"].trailing


@pytest.mark.parametrize("request_", SAME_CODE.values(), ids=SAME_CODE)
async def test_a_refusal_of_grpcio_itself_has_the_same_code(
    channels: dict[str, grpc.aio.Channel], request_: Request
) -> None:
    """Grpcio refuses it before it reaches the adapter, in words of its own."""
    seen = {name: await outcome(channel, request_) for name, channel in channels.items()}
    assert seen["envoy"].code is seen["grpcio"].code is not grpc.StatusCode.OK


async def test_an_unknown_method_is_refused_before_the_first_message(channels: dict[str, grpc.aio.Channel]) -> None:
    """A caller that streams may wait for an answer before it sends anything."""
    for channel in channels.values():
        call: Any = channel.stream_stream(f"/{SERVICE}/UnknownMethod")(timeout=CALL_SECONDS)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("messages", [(), (b"", b"")], ids=["none", "two"])
async def test_envoys_adapter_refuses_any_number_of_messages_but_one(
    channels: dict[str, grpc.aio.Channel], messages: tuple[bytes, ...]
) -> None:
    """UNIMPLEMENTED. Here grpcio differs: it lets a call without a message hang, and ignores all but the first one."""
    refused = await outcome(channels["envoy"], of_service("ListSyncEvents", *messages))
    assert (refused.code, refused.answers) == (grpc.StatusCode.UNIMPLEMENTED, [])


async def test_both_adapters_store_alike(channels: dict[str, grpc.aio.Channel]) -> None:
    """A submit, its replay, a snapshot and a page. Only ids and times differ."""
    for method, message in (
        ("SubmitEvent", submit(MENTOR_ID, reason="a break")),
        ("GetMentorStatus", pb.GetMentorStatusRequest(mentor_id=MENTOR_ID)),
        ("ListSyncEvents", pb.ListSyncEventsRequest(limit=5)),
    ):
        request = of_service(method, message.SerializeToString(), metadata=(("idempotency-key", "one"),))
        first, second = [[await outcome(channel, request) for _ in range(2)] for channel in channels.values()]
        assert first[0] == first[1]
        assert second[0] == second[1]
        assert [one._replace(answers=[]) for one in first] == [one._replace(answers=[]) for one in second]
        assert [len(one.answers[0]) for one in first] == [len(one.answers[0]) for one in second]
