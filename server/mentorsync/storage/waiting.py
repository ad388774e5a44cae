"""Reports long waits of commands, so that an operator knows why a command waits."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

REPORT_SECONDS = 3.0  # a shorter wait needs no explanation

logger = logging.getLogger(__name__)


@contextmanager
def reported_wait(reason: str) -> Iterator[None]:
    """Logs the reason once if the body takes longer than REPORT_SECONDS."""
    timer = Timer(REPORT_SECONDS, logger.warning, (reason,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
