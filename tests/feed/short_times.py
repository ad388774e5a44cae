"""The short limits of the live feed, in a module that changes nothing: tests may import it."""

HEARTBEAT_SECONDS = 0.4
STALLED_SECONDS = 1.0
