"""What happens when a part of the server ends that should run as long as the server."""

import asyncio
import logging

import pytest
from mentorsync.parts import PartEndedError, watched


class UnusualError(BaseException):
    """Not an Exception, so that a careless handler misses it."""


async def end_with(error: BaseException | None) -> None:
    await asyncio.sleep(0)
    if error:
        raise error


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [RuntimeError("broken"), UnusualError("broken"), None])
async def test_the_end_of_a_part_ends_the_body(error: BaseException | None, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, if there is one, and the other parts end too."""
    other = asyncio.create_task(forever())
    with caplog.at_level(logging.CRITICAL), pytest.raises(PartEndedError, match="the writer ended unexpectedly"):
        async with watched({"writer": lambda: end_with(error), "other part": lambda: other}):
            await forever()
    assert other.cancelled()
    (record,) = caplog.records
    assert record.getMessage() == "the writer ended unexpectedly: the server stops"
    assert ("broken" in caplog.text) == (error is not None)


async def test_parts_end_with_the_body(caplog: pytest.LogCaptureFixture) -> None:
    """An orderly end is not logged as unexpected."""
    part = asyncio.create_task(forever())
    async with watched({"part": lambda: part}):
        await asyncio.sleep(0)
    assert part.cancelled()
    assert caplog.messages == []


async def test_an_exception_of_the_body_passes_through() -> None:
    """As itself, and not in a group."""
    with pytest.raises(KeyError):
        async with watched({"part": forever}):
            raise KeyError
