"""How many streams one client address may have."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import grpc
import httpx
import pytest

from tests.contract import BASE
from tests.feed.conftest import MODES, Service
from tests.feed.receivers import sse, steps_until, watch
from tests.grpc_client import failure_of
from tests.rest.conftest import Run, fresh_file

WATCH = f"{BASE}/watch"


@pytest.fixture(scope="module", params=MODES)
def service(request: pytest.FixtureRequest, run: Run) -> Iterator[Service]:
    with fresh_file() as url, MODES[request.param](run, url, MENTORSYNC_STREAMS_PER_ADDRESS="3") as service:
        yield service


async def test_one_address_has_a_limited_number_of_streams(service: Service, client: httpx.AsyncClient) -> None:
    """429 with the time to wait. A stream that has ended makes room."""
    await wait_until_free(client, 3)
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(sse(service.url, changes_only=True)) for _ in range(3)]
        for receiver in receivers:
            await steps_until(receiver, "current")
        refused = await client.get(WATCH, params={"max_seconds": 1})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert [detail.get("reason") for detail in refused.json()["details"]] == ["TOO_MANY_WATCHES", None]


async def test_streams_whose_receivers_have_gone_make_room_at_once(service: Service, client: httpx.AsyncClient) -> None:
    """A phone that loses its connection again and again is not refused. An EventSource would give up after a 429."""
    await wait_until_free(client, 3)
    for _ in range(4):
        async with AsyncExitStack() as stack:
            for _ in range(3):
                receiver = await stack.enter_async_context(sse(service.url, changes_only=True))
                await steps_until(receiver, "current")


async def test_the_limit_holds_for_grpc(client: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
    """RESOURCE_EXHAUSTED."""
    await wait_until_free(client, 3)
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(watch(channel, changes_only=True)) for _ in range(4)]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.gather(*(steps_until(receiver, "heartbeat", 100) for receiver in receivers))
    failure = failure_of(error.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES")


async def wait_until_free(client: httpx.AsyncClient, streams: int) -> None:
    """Waits until heartbeats have found out that clients have gone: so many streams can be opened."""
    for _ in range(100):
        answers = [asyncio.ensure_future(client.get(WATCH, params={"max_seconds": 1})) for _ in range(streams)]
        if {answer.status_code for answer in await asyncio.gather(*answers)} == {200}:
            return
    raise AssertionError("streams of clients that have gone stay open")
