"""A phone's offline queue: the reference for apps. docs/phones.md walks through it."""

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

FIRST_PAUSE_SECONDS = 0.25  # doubled with each failed attempt
MAX_PAUSE_SECONDS = 10.0  # so that a phone is back soon after a long outage
CLOCK_TOLERANCE = timedelta(minutes=1)  # a smaller difference rarely changes an outcome
OK = 200
NEVER_LATER = frozenset({400, 403, 404, 405, 413, 431})  # the same request would be refused again


class UnreachableError(Exception):
    """No answer came. The request may have been executed."""


class Tap(NamedTuple):
    """What the user did. A real app writes it to disk before it sends it, and removes it after the answer."""

    key: str
    mentor_id: str
    event_type: str
    client_timestamp: str


class Answer(NamedTuple):
    """`date` is the time of the service, if the answer has it."""

    status: int
    body: bytes
    retry_after: float
    date: datetime | None


class Network(Protocol):
    async def submit(self, tap: Tap) -> Answer:
        """Sends a tap with its key. Raises UnreachableError."""


class Phone:
    """`on_answer` and `on_drop` are called when a tap leaves the queue."""

    def __init__(
        self,
        mentor_id: str,
        network: Network,
        clock: Callable[[], datetime],
        on_answer: Callable[[Tap, Answer], None],
        on_drop: Callable[[Tap, Answer], None],
    ) -> None:
        self.mentor_id = mentor_id
        self.queue: deque[Tap] = deque()
        self.clock_error = timedelta(0)
        self._network = network
        self._clock = clock
        self._on_answer = on_answer
        self._on_drop = on_drop
        self._failures = 0
        self._wakes = asyncio.Event()

    def tap(self, event_type: str) -> Tap:
        """Queues what the user did, with one key for all attempts and the time of the tap."""
        tap = Tap(str(uuid.uuid4()), self.mentor_id, event_type, self._clock().isoformat())
        self.queue.append(tap)
        self.wake()
        return tap

    def wake(self) -> None:
        """Ends a pause: there is a new tap, or the network is back."""
        self._wakes.set()

    async def send_forever(self) -> None:
        """Sends one tap after the other: a later tap must not overtake an earlier one."""
        while True:
            self._wakes.clear()
            if not self.queue:
                await self._wakes.wait()
            elif (pause := await self.send_first()) is not None:
                await self._pause(pause)

    async def send_first(self) -> float | None:
        """Sends the oldest tap. Returns the seconds to wait before the next attempt, or None if the tap is done."""
        tap = self.queue[0]
        try:
            answer = await self._network.submit(tap)
        except UnreachableError:
            return self._backoff()
        self._check_clock(answer)
        if answer.status == OK:  # also `accepted: false`: the event is recorded, and can never win
            self._finish(tap, answer, self._on_answer)
        elif answer.status in NEVER_LATER:
            self._finish(tap, answer, self._on_drop)
        else:  # 401 needs a new token first; 408, 429 and 5xx pass
            await asyncio.sleep(answer.retry_after)  # in full: unlike a pause, nothing ends it early
            return self._backoff()
        return None

    def _finish(self, tap: Tap, answer: Answer, report: Callable[[Tap, Answer], None]) -> None:
        self._failures = 0
        self.queue.popleft()
        report(tap, answer)

    def _backoff(self) -> float:
        """Grows with each failure. The random part keeps phones from returning all at once."""
        longest = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, protects nothing

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wakes.wait(), seconds)
        except TimeoutError:
            return

    def _check_clock(self, answer: Answer) -> None:
        """Compares with the header `date`. A repeated answer has the `server_timestamp` of the first attempt."""
        if answer.date:
            self.clock_error = self._clock() - answer.date

    @property
    def needs_clock_advice(self) -> bool:
        """Whether to warn the user. A slow clock makes events stale; a fast one counts as now."""
        return self.clock_error < -CLOCK_TOLERANCE
