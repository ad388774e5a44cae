"""Reports when the servers behind a gateway become unreachable, and when one is healthy again."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from mentorsync.kinds import Address
from mentorsync.supervisor.admin import ADMIN_FAILURES
from mentorsync.supervisor.envoy import Envoy

POLL_SECONDS = 1.0


async def report_upstreams(envoy: Envoy, upstreams: Sequence[Address], say: Callable[[str], None]) -> NoReturn:
    """Says so once when no server is healthy, also at the start, and once when one is healthy again."""
    names = ", ".join(map(str, upstreams))
    was_healthy = True
    while True:
        with suppress(*ADMIN_FAILURES):  # the end of Envoy is reported elsewhere
            is_healthy = await envoy.has_healthy_server()
            if was_healthy and not is_healthy:
                say(f"no server is healthy, all calls get 503: check the names and the servers of --upstream {names}")
            elif is_healthy and not was_healthy:
                say("a server is healthy again")
            was_healthy = is_healthy
        await asyncio.sleep(POLL_SECONDS)
