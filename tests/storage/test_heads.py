"""PostgreSQL's log heads: what an old snapshot costs, where pages start, and how old heads are removed."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.postgres import heads, trimming
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.store import PostgresStore

from tests.databases import execute
from tests.storage.commit_proxy import CommitProxy
from tests.storage.opened import MENTOR_ID, commit, ids_of

WAIT_SECONDS = 10
COMMITS = 600  # many times what a page of the table or of an index holds
ACKNOWLEDGED = 4_000  # events, over about 100 pages of the table
FIRST_PENDING = "SELECT min(sequence) FROM events WHERE accepted AND NOT acknowledged AND deleted_at IS NULL"
PENDING_IDS = (
    "SELECT sync_event_id FROM events WHERE accepted AND NOT acknowledged AND deleted_at IS NULL ORDER BY sequence"
)
BOUND = "SELECT first_pending FROM heads ORDER BY last_revision DESC LIMIT 1"
NEWEST = "SELECT max(last_revision) FROM heads"
COUNT = "SELECT count(*) FROM heads"


@pytest.fixture
def open_engine(url: str) -> Iterator[Callable[[], PostgresEngine]]:
    """Opens engines as several servers would, each on connections of its own."""
    engines: list[PostgresEngine] = []

    def open_one() -> PostgresEngine:
        engines.append(PostgresEngine(url))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(open_engine: Callable[[], PostgresEngine]) -> PostgresEngine:
    return open_engine()


@pytest.fixture
def store(engine: PostgresEngine) -> PostgresStore:
    return engine.open_store()


def submit(mentor_id: str = MENTOR_ID) -> SubmitOperation:
    return SubmitOperation(mentor_id, EventType.PAUSE, "", None, None)


def written(store: PostgresStore, *operations: Operation) -> list[SyncEvent]:
    outcomes = commit(store, operations).outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, SyncEvent)]


def acknowledged(event: SyncEvent, *, value: bool = True) -> UpdateOperation:
    return UpdateOperation(event.sync_event_id, value, None)


class TestOldSnapshot:
    """A backup holds one snapshot for as long as it runs. PostgreSQL removes no dead row meanwhile."""

    @pytest.fixture
    def snapshot(self, url: str) -> Iterator[Callable[[], None]]:
        with psycopg.connect(url, autocommit=True) as connection:

            def take() -> None:
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                connection.execute("SELECT count(*) FROM heads")

            yield take

    @pytest.fixture
    def buffers(self, engine: PostgresEngine) -> Callable[[], dict[str, int]]:
        """How many of the database's pages each statement reads: what it costs, without a clock."""
        statements = engine.open_reader()._statements  # noqa: SLF001 - the statements that are really run

        def read() -> dict[str, int]:
            connection = engine.database.connection()
            return {
                "head": _pages(connection, heads.SELECT_HEAD, ()),
                "page": _pages(connection, statements.page, (0, 20, 0)),
                "mentor's page": _pages(connection, statements.mentor_page, ("mntr_1", 0, "mntr_1", 20, 0, "mntr_1")),
                "snapshot": _pages(connection, statements.snapshot, ("mntr_1",)),
            }

        return read

    def test_commits_make_no_read_cost_more(
        self, store: PostgresStore, snapshot: Callable[[], None], buffers: Callable[[], dict[str, int]]
    ) -> None:
        """Each batch inserts a head, and updates none."""
        for number in range(COMMITS):
            written(store, submit(f"mntr_{number}"))
        snapshot()
        before = buffers()
        for number in range(COMMITS):
            written(store, submit(f"mntr_{COMMITS + number}"))
        after = buffers()
        assert all(after[read] <= before[read] + 2 for read in before), (
            before,
            after,
        )  # an index may be a level deeper

    def test_the_first_page_does_not_walk_what_was_acknowledged(
        self,
        url: str,
        store: PostgresStore,
        snapshot: Callable[[], None],
        buffers: Callable[[], dict[str, int]],
    ) -> None:
        """It starts at the first event that is still pending, or a few events earlier."""
        events = written(store, *(submit("mntr_1") for _ in range(ACKNOWLEDGED + 100)))
        execute(url, "VACUUM")
        before = buffers()
        snapshot()
        for start in range(0, ACKNOWLEDGED, 100):
            written(store, *(acknowledged(event) for event in events[start : start + 100]))
        after = buffers()
        assert after["page"] <= before["page"] + 10  # of 100 pages of the table with dead entries


def _pages(connection: Any, sql: str, parameters: tuple[Any, ...]) -> int:
    explained = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters).fetchone()[0]
    plan = explained[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


class TestFirstPending:
    """A lower bound of what is pending, in each head."""

    @pytest.fixture(autouse=True)
    def raised_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heads, "RAISE_REVISIONS", 1)

    async def test_an_event_that_becomes_pending_again_is_shown(
        self, url: str, engine: PostgresEngine, store: PostgresStore
    ) -> None:
        """It is shown even if pages started at a later event."""
        first, second, third = written(store, submit(), submit(), submit())
        written(store, acknowledged(first), acknowledged(second))
        assert execute(url, BOUND) == [(third.sequence,)]
        written(store, acknowledged(first, value=False))
        assert execute(url, BOUND) == [(first.sequence,)]
        reader = engine.open_reader()
        pending = [first.sync_event_id, third.sync_event_id]
        for shown in (await reader.page(1, 20, None), await reader.page(1, 20, MENTOR_ID)):
            assert ids_of(shown.events) == pending
        assert ids_of((await reader.snapshot(MENTOR_ID)).pending_events) == pending

    async def test_where_nothing_is_pending_the_next_event_is_shown(
        self, url: str, engine: PostgresEngine, store: PostgresStore
    ) -> None:
        """The bound is then at most the sequence of the next event."""
        (first,) = written(store, submit())
        written(store, DeleteOperation(first.sync_event_id))
        assert execute(url, BOUND) == [(3,)]
        (second,) = written(store, submit())
        page = await engine.open_reader().page(1, 20, None)
        assert ids_of(page.events) == [second.sync_event_id]

    @pytest.mark.parametrize("seed", range(3))
    async def test_pages_show_all_that_is_pending_whatever_happened(
        self, url: str, engine: PostgresEngine, store: PostgresStore, monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        """Events are acknowledged, made pending again and deleted in any order, in batches of any size."""
        choice = random.Random(seed)  # noqa: S311 - no secret
        monkeypatch.setattr(heads, "RAISE_REVISIONS", choice.choice([1, 3, 7]))
        events = written(store, *(submit() for _ in range(10)))
        reader = engine.open_reader()
        for _ in range(60):
            operations: list[Operation] = [submit() for _ in range(choice.randrange(2))]
            for event in choice.sample(events, choice.randint(1, 4)):
                change = acknowledged(event, value=choice.random() < 0.6)
                operations.append(change if choice.random() < 0.95 else DeleteOperation(event.sync_event_id))
            events += [event for event in written(store, *operations) if event.sequence == event.revision]
            pending = [sync_event_id for (sync_event_id,) in execute(url, PENDING_IDS)]
            page = await reader.page(1, 100, None)
            assert ids_of(page.events) == pending[:100]
            assert page.total == len(pending)
            ((first,),), ((bound,),) = execute(url, FIRST_PENDING), execute(url, BOUND)
            assert first is None or bound <= first


class TestTrimming:
    """Old heads are removed outside the batches."""

    @pytest.fixture
    def passing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every head is old as soon as it is written, and its revision is remembered."""
        monkeypatch.setattr(trimming, "KEPT_SECONDS", 0.0)
        monkeypatch.setattr(trimming, "MARK_SECONDS", 0.0)

    @pytest.mark.usefixtures("passing")
    def test_old_heads_are_removed_a_few_at_a_time(
        self, url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A step runs once in COMMITS_BETWEEN_STEPS commits, and while the writer is idle. The newest head stays."""
        monkeypatch.setattr(trimming, "COMMITS_BETWEEN_STEPS", 10)
        monkeypatch.setattr(trimming, "TRIMMED_HEADS", 4)
        for _ in range(10):
            written(store, submit())
        assert execute(url, COUNT) == [(7,)]
        store.run_maintenance()
        assert execute(url, COUNT) == [(3,)]
        for _ in range(3):
            store.run_maintenance()
        assert execute(url, "SELECT last_revision FROM heads") == [(10,)]
        assert written(store, submit())[0].sequence == 11

    def test_a_head_is_kept_for_minutes(self, url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of later batches does not matter: the outcome of a COMMIT may be looked up after many of them."""
        monkeypatch.setattr(trimming, "COMMITS_BETWEEN_STEPS", 1)
        for _ in range(20):
            written(store, submit())
        assert execute(url, COUNT) == [(21,)]

    @pytest.mark.usefixtures("passing")
    def test_the_newest_head_stays_when_the_log_became_shorter(self, url: str, store: PostgresStore) -> None:
        """After a restore, or on a standby that was behind, the newest revision is lower than a server remembers."""
        for _ in range(5):
            written(store, submit())
        execute(url, "DELETE FROM heads WHERE last_revision > 2")
        store.run_maintenance()
        assert execute(url, "SELECT last_revision FROM heads") == [(2,)]

    @pytest.mark.usefixtures("passing")
    def test_several_servers_trim_at_once(
        self,
        url: str,
        open_engine: Callable[[], PostgresEngine],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No server waits for another one, even if that one hangs. All heads are removed except the newest."""
        monkeypatch.setattr(trimming, "COMMITS_BETWEEN_STEPS", 5)
        stores = [open_engine().open_store() for _ in range(3)]
        together = threading.Barrier(len(stores))

        def write(store: PostgresStore) -> None:
            together.wait(WAIT_SECONDS)
            for _ in range(60):
                written(store, submit())

        with psycopg.connect(url) as hanging:
            hanging.execute("SELECT 1 FROM heads WHERE last_revision = 0 FOR UPDATE")
            with ThreadPoolExecutor(len(stores)) as threads:
                list(threads.map(write, stores))
            for store in stores:
                store.run_maintenance()
        assert caplog.text == ""
        assert execute(url, NEWEST) == [(180,)]
        assert len(execute(url, "SELECT FROM heads WHERE last_revision > 0")) <= len(stores) + 1

    @pytest.mark.usefixtures("passing")
    def test_a_step_that_fails_is_only_logged(
        self, url: str, store: PostgresStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next batch is written, and a later step removes the heads."""
        written(store, submit())
        execute(url, "ALTER TABLE heads RENAME COLUMN last_revision TO hidden")
        store.run_maintenance()
        assert "old heads of the log were not removed" in caplog.text
        execute(url, "ALTER TABLE heads RENAME COLUMN hidden TO last_revision")
        assert written(store, submit())[0].sequence == 2


def test_an_outcome_that_cannot_be_found_out_any_more_is_an_error(
    url: str, open_engine: Callable[[], PostgresEngine]
) -> None:
    """A server that hung for minutes after its COMMIT finds no head: it must not write the batch a second time."""
    with CommitProxy(url) as proxy:
        engine = PostgresEngine(proxy.url)
        store = engine.open_store()
        try:
            written(store, submit())
            proxy.cut_before_answer()
            with ThreadPoolExecutor(1) as thread:
                outcome = thread.submit(store.transact, [submit()])
                assert proxy.cut.wait(WAIT_SECONDS)
                written(open_engine().open_store(), submit())
                execute(url, "DELETE FROM heads WHERE last_revision < 3")
                proxy.mend()
                with pytest.raises(StorageUnavailableError, match="can no longer be determined"):
                    outcome.result(WAIT_SECONDS)
            assert execute(url, "SELECT count(*) FROM events") == [(3,)]
        finally:
            engine.close()
