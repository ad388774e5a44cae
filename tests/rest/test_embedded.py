"""Faults that matter in the embedded mode only: the service can harm the process that it shares with Envoy."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import httpx
import pytest
from mentorsync.time_limits import STREAM_IDLE_SECONDS

from tests.contract import BASE
from tests.dying_parts import METHODS
from tests.grpc_client import SERVICE
from tests.rest.conftest import EXCHANGE_SECONDS, Run, Service, embedded_gateway, settings_for, wait_until_healthy
from tests.rest.troubled_application import BLOCKING_SECONDS

CALLERS = 8


@pytest.fixture
def client(run: Run, tmp_path: Path) -> Iterator[httpx.Client]:
    settings = settings_for(f"sqlite:///{tmp_path / 'mentorsync.db'}")
    with embedded_gateway(run, settings, "tests.rest.troubled_application:app") as gateway:
        service = Service("embedded", gateway.addresses["rest"])
        wait_until_healthy(service)
        with httpx.Client(base_url=service.url, timeout=EXCHANGE_SECONDS) as client:
            yield client


def test_a_blocked_loop_delays_and_breaks_nothing(client: httpx.Client) -> None:
    """While one handler blocks the event loop all calls wait. Then all of them are answered."""
    started = time.monotonic()
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        blocking = pool.submit(client.get, BASE, headers={"x-trouble": "block"})
        answers = list(pool.map(lambda _: client.get(BASE), range(CALLERS)))
    assert blocking.result().status_code == httpx.codes.OK
    assert time.monotonic() - started >= BLOCKING_SECONDS
    assert [answer.status_code for answer in answers] == [httpx.codes.OK] * CALLERS


def test_a_call_that_never_ends_is_answered(client: httpx.Client) -> None:
    """504 in the error shape. Other calls are answered during that time and afterwards."""
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.get, BASE, headers={"x-trouble": "hang"})
        assert client.get(BASE).status_code == httpx.codes.OK
    assert hanging.result().status_code == httpx.codes.GATEWAY_TIMEOUT
    assert hanging.result().json()["code"] == 4
    assert client.get(BASE).status_code == httpx.codes.OK


def test_an_exception_that_escapes_is_an_internal_error(client: httpx.Client) -> None:
    """500 in the error shape, without the cause. The service keeps serving."""
    answer = client.get(BASE, headers={"x-trouble": "raise"})
    assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    assert answer.json().keys() == {"code", "message", "details"}
    assert "secret" not in answer.text
    assert client.get(BASE).status_code == httpx.codes.OK


def test_a_grpc_call_without_its_message_is_given_up(run: Run, tmp_path: Path) -> None:
    """Otherwise callers without a deadline could leave any number of calls open, each with its memory."""
    settings = settings_for(f"sqlite:///{tmp_path / 'mentorsync.db'}")
    with embedded_gateway(run, settings) as gateway:
        wait_until_healthy(Service("embedded", gateway.addresses["rest"]))
        with grpc.insecure_channel("{}:{}".format(*gateway.addresses["service_grpc"])) as channel, ExitStack() as stack:
            silent = Event()
            stack.callback(silent.set)
            listing: Any = channel.stream_unary(f"/{SERVICE}/ListSyncEvents")
            call = listing.future(iter(silent.wait, True), timeout=2 * STREAM_IDLE_SECONDS)
            assert call.code() is grpc.StatusCode.UNKNOWN  # of HTTP 408
            assert call.details() == "stream timeout"


@pytest.mark.parametrize("part", METHODS)
def test_the_death_of_a_part_ends_envoy(run: Run, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """The part's end is logged, and the process ends with a failure, so that its supervisor can report it."""
    trigger = tmp_path / "trigger"
    variables = {"MENTORSYNC_TEST_PART": part, "MENTORSYNC_TEST_TRIGGER": str(trigger)}
    settings = settings_for(f"sqlite:///{tmp_path / 'mentorsync.db'}") | variables
    with embedded_gateway(run, settings, "tests.dying_parts:app") as gateway:
        wait_until_healthy(Service("embedded", gateway.addresses["rest"]))
        trigger.touch()
        assert run(asyncio.wait_for(gateway.wait(), EXCHANGE_SECONDS)) == 1
    assert f"the {part} ended unexpectedly" in caplog.text
    assert "killed by the test" in caplog.text


def test_a_callers_grpc_timeout_means_nothing_over_rest(client: httpx.Client) -> None:
    """In the separate mode the gateway replaces it, so the embedded service must not obey it either."""
    assert client.get(BASE, headers={"grpc-timeout": "0m"}).status_code == httpx.codes.OK
