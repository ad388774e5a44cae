"""Shows a run: a table that is drawn again on a terminal, and plain lines elsewhere."""

import asyncio
import sys
import time

from rich.live import Live
from rich.table import Table

from mentorsync.simulate.fleet import Fleet

LIVE_SECONDS = 0.25
LINE_SECONDS = 5.0


def counts(fleet: Fleet) -> dict[str, int]:
    return {
        "phones offline": fleet.offline,
        "taps": len(fleet.sent),
        "answered": len(fleet.answers),
        "in queues": fleet.queued,
        "seen in the feed": len(fleet.observer.seen),
        "clocks to correct": sum(phone.needs_clock_advice for phone in fleet.phones),
    }


async def show(fleet: Fleet) -> None:
    started = time.monotonic()
    if not sys.stdout.isatty():
        while True:
            await asyncio.sleep(LINE_SECONDS)
            values = ", ".join(f"{name} {value}" for name, value in counts(fleet).items())
            print(f"{time.monotonic() - started:4.0f} s: {values}", flush=True)
    with Live(refresh_per_second=4) as live:
        while True:
            live.update(_table(fleet, time.monotonic() - started))
            await asyncio.sleep(LIVE_SECONDS)


def _table(fleet: Fleet, seconds: float) -> Table:
    table = Table("", f"{seconds:.0f} s", title=f"{len(fleet.phones)} phones")
    table.columns[1].justify = "right"
    for name, value in counts(fleet).items():
        table.add_row(name, f"{value:,}")
    return table
