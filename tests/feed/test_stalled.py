"""A receiver that does not read is cut off by the gateway, and nobody else is affected."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway.config import Config

from tests.contract import BASE
from tests.feed.short_times import STALLED_SECONDS
from tests.feed.stalled import EVENTS, fill, stalled_receiver
from tests.rest.conftest import Run, embedded_gateway, fresh_file, run, settings_for  # noqa: F401 - run is a fixture
from tests.server_process import wait_until

IDLE_SECONDS = 2  # in place of 60


def with_short_silence(config: Config) -> Config:
    """The configuration, in which a stream may be silent for 2 s."""

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: f"{IDLE_SECONDS}s" if (key, one) == ("idle_timeout", "60s") else shorten(one)
                for key, one in value.items()
            }
        return [shorten(one) for one in value] if isinstance(value, list) else value

    shortened: Config = shorten(config)
    return shortened


@pytest.fixture
def gateway(run: Run) -> Iterator[Envoy]:  # noqa: F811 - the fixture's value
    with fresh_file() as url:
        settings = settings_for(url)
        fill(url)
        with embedded_gateway(run, settings, "tests.feed.short_limits:app", with_short_silence) as gateway:
            yield gateway


def test_a_receiver_that_does_not_read_is_cut_off(gateway: Envoy) -> None:
    """Calls are answered meanwhile, and another receiver gets the whole present state."""
    rest = gateway.addresses["rest"]
    with stalled_receiver(rest) as stalled, httpx.Client(base_url=f"http://{rest[0]}:{rest[1]}", timeout=20) as client:
        other = client.get(f"{BASE}/watch", params={"max_seconds": 1})
        assert other.text.count('"sync_event_id"') == EVENTS
        wait_until(lambda: is_cut_off(client, gateway), "the end of the stalled stream")
        assert client.get(f"{BASE}/mntr_1").status_code == httpx.codes.OK
        assert received(stalled) < len(other.content)


def is_cut_off(client: httpx.Client, gateway: Envoy) -> bool:
    """Whether Envoy has ended a stream because of its silence. Meanwhile calls are answered."""
    assert client.get(f"{BASE}/mntr_1").elapsed.total_seconds() < STALLED_SECONDS
    host, port = gateway.addresses["admin"]
    stats = httpx.get(f"http://{host}:{port}/stats", params={"filter": "idle_timeout"}).text
    return any(line.endswith(" 1") for line in stats.splitlines() if "downstream_rq_idle_timeout" in line)


def received(stalled: socket.socket) -> int:
    """All bytes that were on the way, up to the end of the connection."""
    count = 0
    with suppress(ConnectionResetError):
        while chunk := stalled.recv(65_536):
            count += len(chunk)
    return count
