"""What the phones do and suffer. The same seed gives the same plan."""

import random
from enum import Enum
from typing import NamedTuple

SECONDS_BETWEEN_TAPS = 10.0  # of one phone, on average
CLOCK_HOURS = (0, 0, 0, 0, -5, -1, 1, 5)  # half of the phones have a right clock
OFFLINE_SHARE = 0.25  # of a run, at most
EVENT_TYPES = ("PauseMentorEvent", "ResumeMentorEvent", "DeactivateMentorEvent", "ActivateMentorEvent")


class Action(Enum):
    TAP = "tap"
    OFFLINE = "offline"
    ONLINE = "online"
    CUT = "cut"  # the next request is cut before its answer
    RESEND = "resend"  # an answered event is sent once more


class Step(NamedTuple):
    at: float
    phone: int
    action: Action
    event_type: str = ""


class Plan(NamedTuple):
    """`mentors` and `clock_hours` have an entry for each phone."""

    mentors: list[int]
    clock_hours: list[int]
    steps: list[Step]


def make_plan(seed: int, phones: int, mentors: int, seconds: float) -> Plan:
    dice = random.Random(seed)  # noqa: S311 - a repeatable plan
    steps: list[Step] = []
    for phone in range(phones):
        steps += _taps(dice, phone, seconds)
        leaves = dice.uniform(0, seconds * (1 - OFFLINE_SHARE))
        steps.append(Step(leaves, phone, Action.OFFLINE))
        steps.append(Step(leaves + dice.uniform(0, seconds * OFFLINE_SHARE), phone, Action.ONLINE))
        steps += [Step(dice.uniform(0, seconds), phone, action) for action in (Action.CUT, Action.RESEND)]
    return Plan(
        [phone % mentors for phone in range(phones)],
        [dice.choice(CLOCK_HOURS) for _ in range(phones)],
        sorted(steps, key=lambda step: step.at),
    )


def _taps(dice: random.Random, phone: int, seconds: float) -> list[Step]:
    taps = []
    at = dice.expovariate(1 / SECONDS_BETWEEN_TAPS)
    while at < seconds:
        taps.append(Step(at, phone, Action.TAP, dice.choice(EVENT_TYPES)))
        at += dice.expovariate(1 / SECONDS_BETWEEN_TAPS)
    return taps
