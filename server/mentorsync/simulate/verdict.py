"""Compares what the phones know with what the service has."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from mentorsync.simulate.api import PAGE, Api
from mentorsync.simulate.fleet import Fleet
from mentorsync.simulate.phone import OK, Answer, Tap, UnreachableError

TRIES = 20  # a service that restarts is back within so many pauses
PAUSE_SECONDS = 0.5
FEED_SECONDS = 10.0  # for the last changes to arrive
AT_ONCE = 20  # checks that run at the same time


class CannotCheckError(Exception):
    """The service does not answer the calls that check the run."""


@dataclass
class Verdict:
    """All counts from `refused` on must be 0. It is unknown whether an unanswered tap is stored."""

    sent: int
    answered: int
    stored: int
    refused: int
    unanswered: int
    doubled: int
    lost: int
    gaps: int

    @property
    def has_passed(self) -> bool:
        return not (self.refused or self.unanswered or self.doubled or self.lost or self.gaps)

    def __str__(self) -> str:
        counts = (
            f"sent {self.sent}, answered {self.answered}, stored {self.stored}, "
            f"doubled {self.doubled}, lost {self.lost}, feed gaps {self.gaps}"
        )
        others = f", refused {self.refused}, unanswered {self.unanswered}" if self.refused or self.unanswered else ""
        return f"{counts}{others}: {'passed' if self.has_passed else 'FAILED'}"


async def judge(api: Api, fleet: Fleet) -> Verdict:
    """Lists first, then feeds, then keys: to send a key again would store an event that was lost."""
    first = {tap: json.loads(body) for tap, body in fleet.answers.items()}
    mentors = sorted({tap.mentor_id for tap in fleet.sent})
    listed = Counter(event for ids in await _several(mentors, lambda mentor: _pending(api, mentor)) for event in ids)
    statuses = await _several(mentors, lambda mentor: _status(api, mentor))
    gaps = await _gaps(fleet, first, dict(zip(mentors, statuses, strict=True)))
    again = await _several(list(first), lambda tap: _answer(lambda: api.submit(tap)))
    repeated = {tap: answer.body == fleet.answers[tap] for tap, answer in zip(first, again, strict=True)}
    ids = {answer["sync_event_id"] for answer in first.values()}
    known = listed.keys() | fleet.observer.seen.keys()
    ours = {event for event, mentor_id in fleet.observer.seen.items() if mentor_id in mentors}
    is_lost = {tap: _is_lost(first[tap], listed, known, repeated[tap]) for tap in first}
    extra = (set(listed) | ours) - ids if not fleet.queued else set()
    shared = len(first) - len(ids)  # two taps with one event: one of them is lost
    twice = sum(times - 1 for times in listed.values())
    changed = sum(not repeated[tap] and not is_lost[tap] for tap in first)
    lost = sum(is_lost.values()) + shared
    return Verdict(
        sent=len(fleet.sent),
        answered=len(first),
        stored=len(first) - lost,
        refused=len(fleet.refused),
        unanswered=fleet.queued,
        doubled=max(len(extra) + twice, changed, fleet.changed_answers),
        lost=lost,
        gaps=gaps,
    )


def _is_lost(answer: dict[str, Any], listed: Counter[str], known: set[str], is_repeated: bool) -> bool:
    """An accepted event must be in the list. Others are in no list: they must be in the feed or known by their key."""
    event = answer["sync_event_id"]
    return event not in listed if answer["accepted"] else event not in known and not is_repeated


async def _gaps(fleet: Fleet, first: dict[Tap, dict[str, Any]], statuses: dict[str, str]) -> int:
    """Answered events that a feed did not show, statuses that it got wrong, and resets."""
    deadline = time.monotonic() + FEED_SECONDS
    while (gaps := _count_gaps(fleet, first, statuses)) and time.monotonic() < deadline:
        await asyncio.sleep(PAUSE_SECONDS)
    return gaps


def _count_gaps(fleet: Fleet, first: dict[Tap, dict[str, Any]], statuses: dict[str, str]) -> int:
    wanted = {answer["sync_event_id"]: tap.mentor_id for tap, answer in first.items()}
    gaps = len(wanted.keys() - fleet.observer.seen.keys()) + fleet.observer.resets
    for mentor_id, view in fleet.views.items():
        gaps += sum(mentor == mentor_id and event not in view.seen for event, mentor in wanted.items())
        gaps += view.resets + (mentor_id in statuses and view.status != statuses[mentor_id])
    return gaps


async def _several(items: list[Any], check: Any) -> list[Any]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Any:
        async with slots:
            return await check(item)

    return await asyncio.gather(*map(one, items))


async def _pending(api: Api, mentor_id: str) -> list[str]:
    events: list[str] = []
    for number in count(1):
        page = json.loads((await _answer(partial(api.page, number, mentor_id))).body)["data"]
        events += [event["sync_event_id"] for event in page]
        if len(page) < PAGE:
            break
    return events


async def _status(api: Api, mentor_id: str) -> str:
    answer = await _answer(lambda: api.snapshot(mentor_id))
    return str(json.loads(answer.body).get("status", ""))


async def _answer(call: Any) -> Answer:
    """Repeats a call until it is answered."""
    for _ in range(TRIES):
        try:
            answer: Answer = await call()
        except UnreachableError:
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        if answer.status in {OK, 404}:
            return answer
        await asyncio.sleep(max(PAUSE_SECONDS, answer.retry_after))
    raise CannotCheckError("the service does not answer the calls that check the run")
