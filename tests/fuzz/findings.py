"""What a fuzz has found."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

MOST_SHOWN = 10  # findings that are kept with their text: the others are probably alike


@dataclass
class Findings:
    """`answers` counts the requests by their outcome. `faults` describes answers that no request may get."""

    answers: Counter[str] = field(default_factory=Counter)
    count: int = 0
    faults: list[str] = field(default_factory=list)

    def report(self, request: bytes, fault: str) -> None:
        self.count += 1
        if len(self.faults) < MOST_SHOWN:
            self.faults.append(f"{fault}\n  {request[:500]!r}")


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
