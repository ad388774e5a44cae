"""Runs what reports on Envoy to the operator, beside the watch over the processes."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reporting(*reports: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Runs reports while the body runs. They end with it, or before."""
    tasks = [asyncio.create_task(report) for report in reports]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
