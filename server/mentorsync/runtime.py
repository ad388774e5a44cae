"""How the interpreter, grpc and the kernel run what serves calls."""

import os
import sys
from contextlib import suppress

# Seconds that a thread keeps the interpreter while another waits for it. The writer lets go of it at every statement,
# and must get it back from the busy event loop: at the default of 5 ms, a batch of ten statements could wait 50 ms.
SWITCH_INTERVAL = 0.0005


def leave_out_psycopg_on_sqlite(database_url: str) -> None:
    """To be called before Peewee is imported: it would load psycopg, 16 MB, wherever that is installed."""
    if database_url.startswith("sqlite:"):
        sys.modules["psycopg"] = None  # type: ignore[assignment]  # Python's own sign of a module that is not to be had


def prepare() -> None:
    """To be called before grpc is imported and before a thread is started: threads and processes inherit it."""
    # grpc's own lines are no JSON, and tell what our messages tell, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Fewer wake-ups for each event of a call. Not promised by grpc, and so tied to its pinned release; an empty
    # GRPC_EXPERIMENTS in the environment switches it off.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    # A call passes through several threads on few cores: whoever wakes the next is to finish first. Takes a quarter of
    # the CPU away. Where it is refused, nothing but that is lost.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    sys.setswitchinterval(SWITCH_INTERVAL)
