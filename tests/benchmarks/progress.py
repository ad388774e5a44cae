"""Reports the progress of a run and the time left."""

import sys
import time


class Progress:
    """Prints one line to standard error for each of `total` steps."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"          {text}", file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        self._done += 1
        elapsed = time.monotonic() - self._started
        minutes, seconds = divmod(round(elapsed / self._done * (self._total - self._done)), 60)
        print(f"{self._done:4}/{self._total}  {text}  ({minutes}:{seconds:02} left)", file=sys.stderr, flush=True)
