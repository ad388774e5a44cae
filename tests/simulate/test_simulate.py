"""`mentorsync simulate` against the real service."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from mentorsync.simulate import verdict
from mentorsync.simulate.api import CALL_SECONDS, Api
from mentorsync.simulate.command import wait_for_feed
from mentorsync.simulate.fleet import Fleet
from mentorsync.simulate.phone import Answer, Tap
from mentorsync.simulate.plan import make_plan
from mentorsync.simulate.verdict import Verdict, judge
from mentorsync.simulate.view import FeedEvent

from tests.server_process import WAIT_SECONDS, Database, address_of, command, environment, hold_port, wait_until
from tests.up_process import UpProcess, wait_until_gone

KEPT = "doubled 0, lost 0, feed gaps 0: passed"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    folder = tmp_path_factory.mktemp("up")
    up = UpProcess(Database(folder / "mentorsync.db"), folder / "up.log", (), streams_per_address="1000")
    yield up
    up.kill()


def simulate(url: str, *flags: str) -> subprocess.Popen[str]:
    arguments = command("simulate", "--url", url, "--mentors", "20", "--seed", "1", *flags)
    return subprocess.Popen(arguments, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status, and the last line of each output."""
    with process:
        try:
            output, errors = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
    return process.returncode, (errors or output).splitlines()[-1]


def events(database: Database) -> int:
    return int(database.execute("SELECT count(*) FROM events")[0][0])


@pytest.fixture
def address() -> Iterator[str]:
    """Where a service can be started again."""
    with hold_port() as holder:
        yield address_of(holder)


def test_nothing_is_lost_when_the_service_is_killed(tmp_path: Path, address: str) -> None:
    """Kill -9 and a restart during the run: the phones repeat what was not answered, and the feed continues."""
    database = Database(tmp_path / "mentorsync.db")
    up = UpProcess(database, tmp_path / "up.log", (), rest_address=address)
    fleet = simulate(up.url, "--phones", "100", "--duration", "5s")
    try:
        wait_until(lambda: events(database) >= 10, "events of the phones")
        parts = up.parts
        up.kill()
        wait_until_gone(parts)
        up = UpProcess(database, tmp_path / "up.log", (), rest_address=address)
        status, line = ended(fleet)
        assert line.endswith(KEPT)
        assert status == 0
        assert f"stored {events(database)}," in line
    finally:
        fleet.kill()
        up.kill()


def test_ctrl_c_ends_a_run_with_its_verdict(up: UpProcess) -> None:
    """The phones empty their queues before the verdict."""
    database = Database(up.log.with_name("mentorsync.db"))
    before = events(database)
    fleet = simulate(up.url, "--phones", "200", "--duration", "1h")
    wait_until(lambda: events(database) > before, "events of the phones")
    fleet.send_signal(signal.SIGINT)
    status, line = ended(fleet)
    assert line.endswith(KEPT)
    assert status == 0


def test_a_service_that_does_not_run_is_one_line() -> None:
    """The line says what to do."""
    status, line = ended(simulate("http://127.0.0.1:1"))
    assert status == 2
    assert line == (
        "mentorsync: http://127.0.0.1:1 cannot be reached: start the service with `mentorsync up`, or set another --url"
    )


def test_the_service_that_is_written_to_is_named_first() -> None:
    """Also if it cannot be reached: the line comes before any call."""
    with simulate("http://127.0.0.1:1") as fleet:
        try:
            output, _ = fleet.communicate(timeout=WAIT_SECONDS)
        finally:
            fleet.kill()
    assert output.splitlines()[0] == "writing events to http://127.0.0.1:1"


class InventingApi(Api):
    """Answers every third tap without storing it."""

    async def submit(self, tap: Tap, answer_seconds: float = CALL_SECONDS) -> Answer:
        if int(tap.key[0], 16) % 3:
            return await super().submit(tap, answer_seconds)
        invented = {"sync_event_id": f"evt_{tap.key[:8].upper()}", "accepted": True, "resulting_status": "paused"}
        return Answer(200, json.dumps(invented).encode(), 0, None)


class DoublingApi(Api):
    """Stores each tap twice, as a service does that ignores keys."""

    async def submit(self, tap: Tap, answer_seconds: float = CALL_SECONDS) -> Answer:
        await super().submit(tap._replace(key=f"{tap.key}-again"))
        return await super().submit(tap, answer_seconds)


class ForgettingApi(Api):
    """Gives another answer each time that a key is sent again."""

    numbers = count()

    async def submit(self, tap: Tap, answer_seconds: float = CALL_SECONDS) -> Answer:
        return await super().submit(tap._replace(key=f"{tap.key}-{next(self.numbers)}"), answer_seconds)


class SkippingApi(Api):
    """Leaves the fifth change out of each stream of the feed."""

    async def watch(self, mentor_id: str | None, cursor: str | None) -> AsyncIterator[FeedEvent]:
        changes = 0
        async for event in super().watch(mentor_id, cursor):
            changes += event.name == "change"
            if changes != 5:
                yield event


async def judged(api: Api) -> Verdict:
    fleet = Fleet(api, make_plan(seed=1, phones=300, mentors=20, seconds=1))
    tasks = fleet.background()
    try:
        await wait_for_feed(fleet)
        await fleet.run(asyncio.Event())
        return await judge(api, fleet)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await api.close()


@pytest.mark.parametrize(
    ("api", "broken"),
    [
        (Api, set()),
        (InventingApi, {"lost", "gaps"}),
        (DoublingApi, {"doubled"}),
        (ForgettingApi, {"doubled"}),
        (SkippingApi, {"gaps"}),
    ],
)
async def test_each_fault_is_found(
    api: type[Api], broken: set[str], up: UpProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault shows in its own counts, and a service without a fault passes."""
    if "gaps" in broken:  # otherwise the last changes do arrive, on a busy machine later
        monkeypatch.setattr(verdict, "FEED_SECONDS", 1.0)
    found = await judged(api(up.url, None))
    assert found.sent == found.answered > 20
    assert {name for name in ("refused", "unanswered", "doubled", "lost", "gaps") if getattr(found, name)} == broken
    assert found.has_passed is not bool(broken)


def test_a_seed_gives_the_same_plan() -> None:
    """Another seed gives another."""
    assert make_plan(1, 50, 10, 60) == make_plan(1, 50, 10, 60)
    assert make_plan(1, 50, 10, 60) != make_plan(2, 50, 10, 60)
