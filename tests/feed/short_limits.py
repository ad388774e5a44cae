"""The real service with short limits of the live feed, and with a clock that a test can step.

As a program it is `mentorsync`, of which tests run `serve`; Envoy hosts `app`.
"""

import gc
import os
import sys
import time
from pathlib import Path

from mentorsync import embedded, time_limits
from mentorsync.cli import main

from tests.feed.short_times import HEARTBEAT_SECONDS, STALLED_SECONDS

time_limits.HEARTBEAT_SECONDS = HEARTBEAT_SECONDS
time_limits.STALLED_SECONDS = STALLED_SECONDS
time_limits.BEHIND_SECONDS = 0.3
gc.set_threshold(50, 2, 2)  # collects what nothing refers to at once: an idle stream must not be among it
app = embedded.app

_true_time_ns = time.time_ns
_clock_step = Path(os.environ.get("MENTORSYNC_DATABASE_URL", "").removeprefix("sqlite:///")).with_suffix(".clock")


def _stepped_time_ns() -> int:
    """The machine's clock, ahead by the seconds in the file beside the SQLite database, if there is one."""
    step = int(_clock_step.read_text()) if _clock_step.is_file() else 0
    return _true_time_ns() + step * 10**9


time.time_ns = _stepped_time_ns

if __name__ == "__main__":
    sys.exit(main())
