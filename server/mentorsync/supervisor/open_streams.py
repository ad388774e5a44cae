"""Asks the service for the number of its open streams: Envoy counts those of the service inside it as requests."""

import asyncio
import re

from mentorsync.supervisor.admin import ADMIN_FAILURES, exchange
from mentorsync.supervisor.part import Address

STREAMS = re.compile(rb"^mentorsync_feed_streams ([0-9.]+)$", re.MULTILINE)


async def open_streams(metrics: Address) -> int:
    """The number, or 0 if the service does not answer: the caller then waits for every request."""
    try:
        found = STREAMS.search(await asyncio.to_thread(exchange, metrics, "GET", "/metrics"))
    except ADMIN_FAILURES:
        return 0
    return int(float(found[1])) if found else 0
