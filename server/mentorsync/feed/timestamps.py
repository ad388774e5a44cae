"""Stored times, in microseconds, as the feed shows them: in whole seconds."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def published_seconds(microseconds: int) -> int:
    return microseconds // 1_000_000


def published_text(microseconds: int) -> str:
    """RFC 3339, as protobuf's JSON has it."""
    return f"{EPOCH + timedelta(seconds=published_seconds(microseconds)):%Y-%m-%dT%H:%M:%SZ}"
