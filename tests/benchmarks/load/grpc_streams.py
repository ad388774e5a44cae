"""Holds idle streams of the feed over gRPC, in a process of its own. Arguments: the address and their number.

Prints a line once all are current, and ends with its standard input.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from tests.benchmarks.processes import python_module

STREAMS_OF_A_CHANNEL = 10
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@contextmanager
def grpc_streams(address: str, number: int) -> Iterator[None]:
    """All of them are current when the block begins."""
    command = python_module("tests.benchmarks.load.grpc_streams", address, str(number))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            if not process.stdout.readline():
                raise RuntimeError("the process that holds gRPC streams has ended")
            yield
        finally:
            process.kill()


async def hold(address: str, number: int) -> None:
    channels = [grpc.aio.insecure_channel(address, OWN_CONNECTION) for _ in range(-(-number // STREAMS_OF_A_CHANNEL))]
    request = pb.WatchSyncEventsRequest(changes_only=True)
    calls = [MentorStatusSyncStub(channels[each % len(channels)]).WatchSyncEvents(request) for each in range(number)]
    for call in calls:
        await call.read()
    print("current", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2])))
