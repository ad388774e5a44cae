"""The real service with short limits of the live feed. As a program it is `mentorsync serve`; Envoy hosts `app`."""

import gc
import sys

from mentorsync import embedded, time_limits
from mentorsync.cli import main

from tests.feed.short_times import HEARTBEAT_SECONDS, STALLED_SECONDS

time_limits.HEARTBEAT_SECONDS = HEARTBEAT_SECONDS
time_limits.STALLED_SECONDS = STALLED_SECONDS
time_limits.BEHIND_SECONDS = 0.3
gc.set_threshold(50, 2, 2)  # collects what nothing refers to at once: an idle stream must not be among it
app = embedded.app

if __name__ == "__main__":
    sys.exit(main(["serve"]))
