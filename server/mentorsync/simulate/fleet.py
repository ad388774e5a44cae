"""Phones that follow a plan, over networks that fail as the plan says."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta

from mentorsync.simulate.api import Api
from mentorsync.simulate.phone import OK, Answer, Phone, Tap, UnreachableError
from mentorsync.simulate.plan import Action, Plan, Step
from mentorsync.simulate.view import View, follow

CUT_SECONDS = 0.003  # often after the service has the request and before its answer
# Phones with a live feed. An address may have 20 streams, and those that ended count up to a heartbeat longer.
FEEDS = 4
DRAIN_SECONDS = 60.0  # for the queues after the last tap, with a service that is back


class FaultyNetwork:
    """The network of one phone."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.is_online = True
        self.cuts_next = False

    async def submit(self, tap: Tap) -> Answer:
        if not self.is_online:
            raise UnreachableError("the phone is offline")
        if not self.cuts_next:
            return await self._api.submit(tap)
        self.cuts_next = False
        return await self._api.submit(tap, CUT_SECONDS)


class Fleet:
    """`answers` has the first answer to each tap, and `sent` every tap."""

    def __init__(self, api: Api, plan: Plan) -> None:
        run = secrets.token_hex(6)  # each run has mentors of its own, so that nobody else writes to them
        self.sent: list[Tap] = []
        self.answers: dict[Tap, bytes] = {}
        self.refused: list[Answer] = []
        self.changed_answers = 0
        self.observer = View()
        self.views: dict[str, View] = {}
        self._api = api
        self._plan = plan
        self.networks = [FaultyNetwork(api) for _ in plan.mentors]
        self.phones = [
            self._phone(f"mntr_sim{run}{mentor}", network, hours)
            for mentor, network, hours in zip(plan.mentors, self.networks, plan.clock_hours, strict=True)
        ]

    def _phone(self, mentor_id: str, network: FaultyNetwork, hours: int) -> Phone:
        error = timedelta(hours=hours)

        def clock() -> datetime:
            return datetime.now(UTC).replace(microsecond=0) + error

        return Phone(mentor_id, network, clock, self._note_answer, lambda _tap, answer: self.refused.append(answer))

    def _note_answer(self, tap: Tap, answer: Answer) -> None:
        self.answers[tap] = answer.body

    @property
    def queued(self) -> int:
        return sum(len(phone.queue) for phone in self.phones)

    @property
    def offline(self) -> int:
        return sum(not network.is_online for network in self.networks)

    async def run(self, stop: asyncio.Event) -> None:
        """Follows the plan until its end or `stop`, then lets all phones empty their queues."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as resends:
            for step in self._plan.steps:
                if await waited(stop, started + step.at - time.monotonic()):
                    break
                if step.action is Action.RESEND:
                    resends.create_task(self._resend(self.phones[step.phone]))
                else:
                    self._take(step)
        for phone, network in zip(self.phones, self.networks, strict=True):
            network.is_online = True
            phone.wake()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.queued and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    def background(self) -> list[asyncio.Task[None]]:
        """Starts the phones' queues and the feeds. The observer follows all mentors."""
        followers = [follow(self._api, self.observer, None)]
        for phone in self.phones[:FEEDS]:
            if phone.mentor_id not in self.views:
                self.views[phone.mentor_id] = View()
                followers.append(follow(self._api, self.views[phone.mentor_id], phone.mentor_id))
        return [asyncio.create_task(work) for work in (*followers, *(phone.send_forever() for phone in self.phones))]

    def _take(self, step: Step) -> None:
        phone, network = self.phones[step.phone], self.networks[step.phone]
        match step.action:
            case Action.TAP:
                self.sent.append(phone.tap(step.event_type))
            case Action.OFFLINE:
                network.is_online = False
            case Action.ONLINE:
                network.is_online = True
                phone.wake()
            case Action.CUT:
                network.cuts_next = True

    async def _resend(self, phone: Phone) -> None:
        """Sends an answered tap once more, as a phone does that ended before it had removed the tap."""
        taps = (tap for tap in reversed(self.sent) if tap.mentor_id == phone.mentor_id)
        answered = next((tap for tap in taps if tap in self.answers), None)
        if answered:
            try:
                answer = await self._api.submit(answered)
            except UnreachableError:
                return
            self.changed_answers += answer.status == OK and answer.body != self.answers[answered]


async def waited(stop: asyncio.Event, seconds: float) -> bool:
    """Waits for so long. Returns at once, and true, if the run is to stop."""
    if seconds <= 0:
        return stop.is_set()
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
