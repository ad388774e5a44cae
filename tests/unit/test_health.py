"""What a server says of its own health."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest
from mentorsync import app
from mentorsync.rpc.health import Health
from mentorsync.storage.errors import StorageUnavailableError


class ProbedReader:
    """Probes end as told, the last with the end of the watch."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self._outcomes = [*outcomes, asyncio.CancelledError()]

    async def probe(self) -> None:
        outcome = self._outcomes.pop(0)
        if outcome is not None:
            raise outcome


async def test_an_outage_is_told_where_it_begins_and_where_it_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, however long it takes."""
    monkeypatch.setattr(app, "PROBE_SECONDS", 0)
    gone = StorageUnavailableError("gone")
    reader: Any = ProbedReader(None, gone, gone, None, None)
    with caplog.at_level(logging.WARNING), suppress(asyncio.CancelledError):
        await app._watch_health(reader, Health())  # noqa: SLF001 - runs as long as the server
    assert caplog.messages == ["not serving: reads fail: gone", "serving again: reads work"]
