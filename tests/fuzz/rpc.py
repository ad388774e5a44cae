"""Sends drawn bytes as gRPC messages, and drawn frames as HTTP/2, to the gRPC address."""

import asyncio
from random import Random

import grpc
from google.rpc import status_pb2

from tests.attacks.frames import HEADERS, frame, opening
from tests.fuzz.drawing import draw_message, mutate
from tests.fuzz.findings import Findings, close
from tests.grpc_client import CALL_SECONDS, SERVICE, open_channel

CALLERS = 16
DATA = 0
FRAMES_SHARE = 0.1  # of the requests
METHODS = ("ListSyncEvents", "GetMentorStatus", "SubmitEvent", "UpdateEvent", "DeleteEvent", "Unknown")
KEYS = (None, "key", "k" * 65, "with space", "~")
ALLOWED = {
    *(grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND),
    *(grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
}


async def fuzz_grpc(address: str, requests: int, seed: int) -> Findings:
    """Sends this number of requests. A connection of drawn frames counts as one."""
    findings = Findings()
    counts = [requests // CALLERS + (number < requests % CALLERS) for number in range(CALLERS)]
    async with open_channel(address) as channel, asyncio.TaskGroup() as group:
        for number, count in enumerate(counts):
            random = Random(f"{seed}-{number}")  # noqa: S311 - no secret
            group.create_task(_send_requests(channel, address, count, random, findings))
    return findings


async def _send_requests(
    channel: grpc.aio.Channel, address: str, count: int, random: Random, findings: Findings
) -> None:
    for _ in range(count):
        if random.random() < FRAMES_SHARE:
            await _send_frames(address, random, findings)
        else:
            await _call(channel, random, findings)


async def _call(channel: grpc.aio.Channel, random: Random, findings: Findings) -> None:
    message = draw_message(random)
    key = random.choice(KEYS)
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{random.choice(METHODS)}")
    call = method(message, timeout=CALL_SECONDS, metadata=(("idempotency-key", key),) if key else ())
    code = await call.code()
    findings.answers[code.name] += 1
    if code not in ALLOWED:
        findings.report(message, f"{code.name}: {await call.details()}")
    if code is grpc.StatusCode.INVALID_ARGUMENT and not _has_details(dict(await call.trailing_metadata() or ())):
        findings.report(message, f"{code.name} without details: {await call.details()}")


def _has_details(metadata: dict[str, str | bytes]) -> bool:
    packed = metadata.get("grpc-status-details-bin", b"")
    return isinstance(packed, bytes) and bool(status_pb2.Status.FromString(packed).details)


async def _send_frames(address: str, random: Random, findings: Findings) -> None:
    """Sends frames and hangs up. What the server answers is not looked at: it must serve the other callers."""
    host, _, port = address.rpartition(":")
    frames = [
        opening(),
        frame(HEADERS, flags=4, stream=1, payload=random.randbytes(random.randrange(60))),
        frame(DATA, flags=1, stream=1, payload=b"\0" + random.randbytes(4) + draw_message(random)),
        frame(random.randrange(12), random.randrange(256), random.randrange(8), random.randbytes(random.randrange(40))),
    ]
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(mutate(random, b"".join(frames)))
    try:
        await writer.drain()
    except OSError:
        findings.answers["connection closed"] += 1
    else:
        findings.answers["frames sent"] += 1
    finally:
        await close(writer)
