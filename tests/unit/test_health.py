"""How a server reports its health, and what it logs."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from mentorsync.rpc import health
from mentorsync.rpc.health import NOT_SERVING, SERVING, Health, report_health
from mentorsync.storage.errors import StorageUnavailableError

LOST = StorageUnavailableError("lost")


class Probe:
    """Each call has the next outcome. The last one is the end of the watch."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self._outcomes = [*outcomes, asyncio.CancelledError()]

    async def __call__(self) -> None:
        outcome = self._outcomes.pop(0)
        if outcome is not None:
            raise outcome


class NotingHealth(Health):
    """Keeps every status that is set for a service."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[tuple[str, int]] = []

    async def set(self, service: str, status: Any) -> None:
        self.statuses.append((service, status))
        await super().set(service, status)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0)


async def report(servicer: Health, **probes: Probe) -> None:
    with suppress(asyncio.CancelledError):
        await report_health(servicer, ("a", "b"), probes)


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """One line each, however long the outage lasts."""
    with caplog.at_level(logging.WARNING):
        await report(Health(), reads=Probe(None, LOST, LOST, None, None), writes=Probe(*[None] * 5))
    assert caplog.messages == ["not serving: reads fail: lost", "serving again: reads work"]


async def test_the_log_names_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Reads and writes have a line of their own, and the server serves again when both work."""
    with caplog.at_level(logging.WARNING):
        await report(Health(), reads=Probe(LOST, LOST, None, None), writes=Probe(None, LOST, LOST, None))
    assert caplog.messages == [
        "not serving: reads fail: lost",
        "not serving: writes fail: lost",
        "still not serving: reads work",
        "serving again: writes work",
    ]


@pytest.mark.parametrize("failing", ["reads", "writes"])
async def test_the_health_needs_both_reads_and_writes(failing: str) -> None:
    """NOT_SERVING while one of them fails; each service is set once for each change."""
    servicer = NotingHealth()
    probes = {name: Probe(None, None, None, None) for name in ("reads", "writes")}
    await report(servicer, **probes | {failing: Probe(None, LOST, LOST, None)})
    expected = [(service, status) for status in (SERVING, NOT_SERVING, SERVING) for service in ("a", "b")]
    assert servicer.statuses == expected


async def test_an_unexpected_exception_of_a_probe_ends_the_watch() -> None:
    """It is not taken for an outage: the server's watch over its parts must see it."""
    with pytest.raises(RuntimeError):
        await report(Health(), reads=Probe(RuntimeError()), writes=Probe(None))


async def test_a_draining_server_reports_not_serving() -> None:
    """Also to a health check that comes later than the drain."""
    servicer = Health()
    await servicer.set("a", int(SERVING))
    await servicer.enter_graceful_shutdown()
    no_context: Any = None
    answer = await servicer.Check(health_pb2.HealthCheckRequest(service="a"), no_context)
    assert answer.status == NOT_SERVING
