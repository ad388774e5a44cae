"""Stored times, in microseconds, as the feed shows them: in whole seconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mentorsync.published import published_seconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = 4_096  # kept: changes of one time share it


def published_text(microseconds: int) -> str:
    """RFC 3339, as protobuf's JSON has it."""
    return _text(published_seconds(microseconds))


@lru_cache(TEXTS)
def _text(seconds: int) -> str:
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
