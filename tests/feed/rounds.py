"""Runs of random faults under random traffic, after which every history must be right."""

import asyncio
import random
import time
from collections.abc import Mapping

from tests.feed import audit
from tests.feed.figures import Figures
from tests.feed.history import Log, Opened
from tests.feed.postgres_sites import PostgresSite
from tests.feed.sqlite_sites import SeparateSite, SqliteSite
from tests.feed.traffic import Traffic
from tests.feed.validators import violations
from tests.feed.watchers import Watcher

WRITERS, WATCHERS = 3, 8
RESUMED_CURSORS = 3  # of each watcher and validation: any that it was ever given
WRITES_AFTER = 4  # at most, between two rounds
FROZEN_WRITES = 5  # made while a replica is frozen
SETTLE_SECONDS = 40  # until all receivers are at the end of the log
POLL_SECONDS = 0.02
WEIGHTS = {"cut": 65, "purge": 25, "kill": 5, "new_epoch": 5}
OWN_WEIGHTS: Mapping[type, dict[str, int]] = {
    SqliteSite: {"step_clock": 5},
    SeparateSite: {"step_clock": 5, "kill_server": 5, "kill_gateway": 5},
    PostgresSite: {"freeze": 3},
}
LONGEST_STEP_SECONDS = 5 * 3_600  # of the clock, forwards or backwards


class Run:
    """One service under faults. At the end, and before a backup is restored, all histories are validated."""

    def __init__(self, site: SqliteSite | PostgresSite, seed: int, figures: Figures) -> None:
        self._site = site
        self._seed = seed
        self._figures = figures
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._traffic = Traffic(site.addresses, seed, WRITERS, WATCHERS)
        self._restored_revision: int | None = None

    async def run(self, rounds: int) -> None:
        part = rounds // 3
        async with self._traffic.running():
            await self._run_rounds(part)
            await self._site.back_up()
            await self._run_rounds(part)
            await self._validate()
            await self._restore()
            await self._run_rounds(rounds - 2 * part - 1)
            await self._validate()
        self._figures.writes += sum(writer.calls for writer in self._traffic.writers)

    async def _run_rounds(self, count: int) -> None:
        """On PostgreSQL the middle one of those after the backup was restored is a failover."""
        is_postgres = isinstance(self._site, PostgresSite)
        weights = WEIGHTS | OWN_WEIGHTS[type(self._site)]
        for number in range(count):
            (name,) = self._random.choices([*weights], [*weights.values()])
            if is_postgres and self._restored_revision is not None and number == count // 2:
                name = "fail_over"
            await getattr(self, f"_{name}")()
            self._figures.rounds[name] += 1
            await self._traffic.wait_for_writes(self._random.randint(1, WRITES_AFTER))

    async def _cut(self) -> None:
        """Some receivers lose their connections."""
        for watcher in self._random.sample(self._traffic.watchers, self._random.randint(1, WATCHERS)):
            watcher.cut()

    async def _purge(self) -> None:
        """While some receivers are away."""
        await self._cut()
        await asyncio.to_thread(self._site.purge)

    async def _kill(self) -> None:
        await self._site.kill()

    async def _kill_server(self) -> None:
        assert isinstance(self._site, SeparateSite)
        await self._site.kill_server()

    async def _kill_gateway(self) -> None:
        assert isinstance(self._site, SeparateSite)
        await self._site.kill_gateway()

    async def _new_epoch(self) -> None:
        await asyncio.to_thread(self._site.new_epoch)

    async def _step_clock(self) -> None:
        assert isinstance(self._site, SqliteSite)
        self._site.step_clock(self._random.randint(-LONGEST_STEP_SECONDS, LONGEST_STEP_SECONDS))

    async def _freeze(self) -> None:
        assert isinstance(self._site, PostgresSite)
        async with self._site.frozen_replica():
            await self._traffic.wait_for_writes(FROZEN_WRITES)

    async def _fail_over(self) -> None:
        assert isinstance(self._site, PostgresSite)
        await self._site.fail_over()

    async def _restore(self) -> None:
        """All receivers are ahead of the backup. Without a new epoch, nothing may be written before they know."""
        new_epoch = self._random.random() < 0.5
        await self._site.restore(new_epoch=new_epoch)
        self._restored_revision = await self._wait_for_watchers()
        self._traffic.may_write.set()
        self._figures.rounds["restore, new epoch" if new_epoch else "restore"] += 1

    async def _validate(self) -> None:
        """Leaves the writers paused, and the watchers with new histories."""
        await self._traffic.pause_writers()
        await self._wait_for_watchers()
        log = await asyncio.to_thread(audit.read_log, self._site.execute, self._restored_revision)
        for watcher in self._traffic.watchers:
            self._note(watcher, "", violations(watcher.history, log))
            await self._resume(watcher, log)
            self._figures.count(watcher.history)
            watcher.forget()

    async def _wait_for_watchers(self) -> int:
        """Waits until all are at the end of the log, and returns its revision. A server may still renew the epoch."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            position = await asyncio.to_thread(self._site.position)
            reached = [watcher.position for watcher in self._traffic.watchers]
            if {*reached} == {position}:
                return position[1]
            assert time.monotonic() < deadline, f"seed {self._seed}: at {reached} instead of {position}"
            await asyncio.sleep(POLL_SECONDS)

    async def _resume(self, watcher: Watcher, log: Log) -> None:
        """Continues at random cursors that the watcher was ever given."""
        entries = watcher.history.entries
        cursors = [(place, entry.cursor) for place, entry in enumerate(entries) if entry.cursor]
        for place, cursor in self._random.sample(cursors, min(RESUMED_CURSORS, len(cursors))):
            if isinstance(entries[place], Opened):
                continue
            steps = await watcher.steps_from(cursor)
            history = watcher.history.resumed(place, steps)
            self._note(watcher, f", resumed at {place} of {len(entries)}", violations(history, log))
            self._figures.resumed += 1

    def _note(self, watcher: Watcher, what: str, lines: list[str]) -> None:
        name = f"seed {self._seed}, watcher {self._traffic.watchers.index(watcher)}{what}"
        self._figures.violations += [f"{name}: {line}" for line in lines]
