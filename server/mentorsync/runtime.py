"""Settings of the interpreter, of grpc and of the kernel for a process that serves calls."""

import gc
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

# Seconds for which a thread keeps the interpreter's lock while another one waits for it. The writer releases the lock
# at every statement and must get it back from the busy event loop: at the default of 5 ms, a batch of ten statements
# could wait for 50 ms.
SWITCH_INTERVAL = 0.0005
OLDEST_GENERATION = 2
THRESHOLDS = (700, 5, 1)  # a full collection for about 8,000 new objects that stay: it takes a few milliseconds


def leave_out_psycopg_on_sqlite(database_url: str) -> None:
    """Keeps Peewee from loading psycopg, which takes 16 MB. Must be called before Peewee is imported."""
    if database_url.startswith("sqlite:"):
        sys.modules["psycopg"] = None  # type: ignore[assignment]  # Python then raises ImportError for this module


def prepare() -> None:
    """Must be called before grpc is imported and before threads or processes start, which inherit the settings."""
    # grpc's own log lines are not JSON, and repeat our own messages.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_about_the_service)
    # Turns off an experiment of grpc, which saves wake-ups in every call. grpc may remove this option in any release,
    # so it is tied to the pinned one. An empty GRPC_EXPERIMENTS in the environment restores grpc's default.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    # A call passes through several threads on few cores. With SCHED_BATCH, a thread that wakes another one finishes its
    # own work first, which saves a quarter of the CPU. Some containers refuse it; the service then runs without it.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    sys.setswitchinterval(SWITCH_INTERVAL)


def _is_about_the_service(record: logging.LogRecord) -> bool:
    """False for the error, with a traceback, that grpc logs for each metadata value of a caller that is not UTF-8.

    With it, any caller could fill the log, and put text into it. The service takes such a value for any other text.
    """
    return not record.getMessage().startswith("Invalid encoding on ")


def freeze_heap() -> None:
    """Leaves all that exists now out of garbage collections, which saves 4 % of a call's CPU time.

    To be called once the service is complete: its modules and classes stay until the process ends.
    """
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_freeze_survivors)
    gc.set_threshold(*THRESHOLDS)


def _freeze_survivors(phase: str, info: Mapping[str, int]) -> None:
    """Leaves what survives a full collection out of the next ones.

    While 5,000 streams of the live feed are open, a collection that looks at all of them takes 145 ms, in which no call
    is answered. When a stream ends, its objects are released without a collection: none of them refers to itself.
    """
    if phase == "stop" and info["generation"] == OLDEST_GENERATION:
        gc.freeze()
