"""What only PostgreSQL can show: its locks, its lost connections, its plans, and many writers on one log."""

import re
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
from mentorsync.storage.migrator import check_current, migrate
from mentorsync.storage.postgres import connections
from mentorsync.storage.postgres import engine as engine_module
from mentorsync.storage.postgres import store as store_module
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.statements import PostgresReadStatements
from mentorsync.storage.postgres.store import PostgresStore
from mentorsync.time_limits import RETRY_SECONDS

from tests.databases import Databases, execute
from tests.postgres_server import free_port
from tests.server_process import wait_until
from tests.storage.commit_proxy import CommitProxy
from tests.storage.opened import MENTOR_ID, Clock

PAUSE = EventType.PAUSE
WAIT_SECONDS = 10
POISON = SubmitOperation("mntr_\ud800", PAUSE, "", None, None)  # no encoding can store this

CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mentorsync'"
)
INSERT_EVENTS = """
    INSERT INTO events SELECT
        n, n, 'evt_' || n, 'mntr_' || n %% 500, 1, NULL, TRUE, 2, n %% 5 = 0, '', n, n, NULL, 'k' || n, 'p' || n
    FROM generate_series(1, %s) AS n
"""
# A sequence is not rolled back: it counts the tries.
GIVE_WAY_TWICE = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') < 3 THEN RAISE EXCEPTION 'give way' USING ERRCODE = '{}'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER give_way BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION give_way();
"""
INSERT_MENTORS = "INSERT INTO mentors SELECT mentor_id, 2, max(sequence), 0, count(*) FROM events GROUP BY mentor_id"


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        engine = PostgresEngine(url)
        migrate(engine)
        engine.close()
        yield url


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., PostgresStore]]:
    """Opens stores as several servers would, each on connections of its own."""
    engines: list[PostgresEngine] = []

    def open_one(clock: Callable[[], int] | None = None) -> PostgresStore:
        engines.append(PostgresEngine(url, clock))
        return engines[-1].open_store()

    yield open_one
    for engine in engines:
        engine.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement sent from now on."""
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: psycopg.Cursor[Any], sql: str, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        sent.append(sql)
        return execute(cursor, sql, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    return sent


def submit(key: str) -> SubmitOperation:
    return SubmitOperation(MENTOR_ID, PAUSE, "", None, key)


def only_event(store: PostgresStore, operation: Operation) -> SyncEvent:
    (event,) = store.transact([operation]).outcomes
    assert isinstance(event, SyncEvent)
    return event


class StandingClock(Clock):
    """Stands still inside the first batch that asks it, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> int:
        self.asked.set()
        assert self.released.wait(WAIT_SECONDS)
        return super().__call__()


def test_who_stands_still_inside_a_batch_loses_the_log(open_store: Callable[..., PostgresStore]) -> None:
    """The others go on at once without an error, and the batch that stood still is written after all, once."""
    clock = StandingClock()
    standing, other = open_store(clock), open_store()
    with ThreadPoolExecutor(1) as thread:
        try:
            outcome = thread.submit(only_event, standing, submit("standing"))
            assert clock.asked.wait(WAIT_SECONDS)
            assert only_event(other, submit("other")).sequence == 1
        finally:
            clock.released.set()
        assert outcome.result(WAIT_SECONDS).sequence == 2
    assert only_event(other, submit("standing")) == outcome.result()


def test_an_operation_that_fails_leaves_no_lock_behind(url: str, open_store: Callable[..., PostgresStore]) -> None:
    """Whatever it fails with, its transaction is over."""
    store = open_store()
    with pytest.raises(ValueError, match="surrogate"):
        store.transact([POISON])
    assert locks(url) == []
    assert only_event(store, submit("next")).sequence == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_transaction_that_has_to_give_way_is_tried_again(
    url: str, open_store: Callable[..., PostgresStore], sqlstate: str
) -> None:
    """Until it succeeds, and then it has happened once."""
    execute(url, GIVE_WAY_TWICE.format(sqlstate))
    assert only_event(open_store(), submit("once")).sequence == 1
    assert execute(url, "SELECT last_value FROM tries") == [(3,)]
    assert execute(url, "SELECT count(*) FROM events") == [(1,)]


class FakeTime:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return round(sum(self.pauses), 9)  # as exact as a real clock

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class TestBackOff:
    """How long a batch is tried again while the database is away."""

    @pytest.fixture
    def time(self, monkeypatch: pytest.MonkeyPatch) -> FakeTime:
        fake = FakeTime()
        monkeypatch.setattr(store_module, "time", fake)
        return fake

    @pytest.fixture
    def store(self) -> Iterator[PostgresStore]:
        """A store of a database that nobody serves."""
        engine = PostgresEngine(f"postgresql://127.0.0.1:{free_port()}/nowhere")
        yield engine.open_store()
        engine.close()

    def test_pauses_grow_by_chance_and_end_in_time(self, store: PostgresStore, time: FakeTime) -> None:
        """Each is up to twice as long as the one before, no two servers' alike, and none lasts beyond the end."""
        with pytest.raises(StorageUnavailableError):
            store.transact([submit("in vain")])
        *pauses, last = time.pauses
        longest = [store_module.FIRST_PAUSE_SECONDS * 2**number for number in range(len(pauses))]
        assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
        assert len({pause / most for pause, most in zip(pauses, longest, strict=True)}) == len(pauses) > 3
        assert last <= longest[-1] * 2
        assert sum(time.pauses) == pytest.approx(RETRY_SECONDS)

    def test_who_comes_while_it_is_away_is_told_at_once(self, store: PostgresStore, time: FakeTime) -> None:
        """Only the first batch waits for its return."""
        with pytest.raises(StorageUnavailableError):
            store.transact([submit("first")])
        time.pauses.clear()
        with pytest.raises(StorageUnavailableError):
            store.transact([submit("second")])
        assert time.pauses == []


def locks(url: str) -> list[tuple[Any, ...]]:
    return execute(
        url,
        "SELECT pid, state FROM pg_stat_activity "
        "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
    )


class TestCutAtCommit:
    """The connection is lost at COMMIT, and with it the word whether that happened."""

    @pytest.fixture
    def proxy(self, url: str) -> Iterator[CommitProxy]:
        with CommitProxy(url) as proxy:
            yield proxy

    @pytest.fixture(params=[0, 10], ids=["new connection", "prepared statements"])
    def store(self, request: pytest.FixtureRequest, proxy: CommitProxy) -> Iterator[PostgresStore]:
        """A store behind the proxy, after some batches."""
        engine = PostgresEngine(proxy.url)
        with engine.serving():
            store = engine.open_store()
            for number in range(request.param):
                store.transact([submit(f"before-{number}")])
            yield store
        engine.close()

    @pytest.mark.parametrize("is_committed", [True, False])
    def test_a_submit_without_key_and_time_happens_once(
        self, url: str, proxy: CommitProxy, store: PostgresStore, *, is_committed: bool
    ) -> None:
        """Nothing but the batch's own record can tell whether it happened."""
        before = execute(url, "SELECT count(*) FROM events")[0][0]
        (proxy.cut_before_answer if is_committed else proxy.cut_before_commit)()
        proxy.mend()
        event = only_event(store, SubmitOperation(MENTOR_ID, PAUSE, "once", None, None))
        assert proxy.cut.is_set()
        rows = execute(url, "SELECT sync_event_id, sequence FROM events WHERE reason = 'once'")
        assert rows == [(event.sync_event_id, event.sequence)]
        assert event.sequence == before + 1
        assert execute(url, "SELECT last_revision, pending_total FROM log") == [(before + 1, before + 1)]

    def test_an_answer_that_never_comes_is_looked_up(
        self, url: str, proxy: CommitProxy, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the silence lasted for longer than a batch is tried again."""
        monkeypatch.setattr(connections, "SILENCE_SECONDS", 0.3)
        monkeypatch.setattr(store_module, "RETRY_SECONDS", 0.1)
        before = execute(url, "SELECT count(*) FROM events")[0][0]
        proxy.swallow_answer()
        event = only_event(store, SubmitOperation(MENTOR_ID, PAUSE, "once", None, None))
        assert proxy.cut.is_set()
        rows = execute(url, "SELECT sync_event_id, sequence FROM events WHERE reason = 'once'")
        assert rows == [(event.sync_event_id, before + 1)]

    def test_an_update_that_another_replica_has_overwritten_since_stays_overwritten(
        self, url: str, proxy: CommitProxy, store: PostgresStore, open_store: Callable[..., PostgresStore]
    ) -> None:
        """The update happened before the other's, and is answered so; it is not made a second time."""
        other = open_store()
        event = only_event(store, submit("event"))
        proxy.cut_before_answer()
        with ThreadPoolExecutor(1) as thread:
            try:
                outcome = thread.submit(only_event, store, UpdateOperation(event.sync_event_id, None, "first"))
                assert proxy.cut.wait(WAIT_SECONDS)
                overwritten = only_event(other, UpdateOperation(event.sync_event_id, None, "second"))
            finally:
                proxy.mend()
            first = outcome.result(WAIT_SECONDS)
        assert (first.reason, first.revision) == ("first", overwritten.revision - 1)
        assert execute(url, "SELECT reason, revision FROM events WHERE sync_event_id = %s", (event.sync_event_id,)) == [
            ("second", overwritten.revision)
        ]


def test_a_server_keeps_no_connection_that_it_does_not_need(url: str) -> None:
    """It opens one to look at the schema, beside those that operators are told of."""
    engine = PostgresEngine(url)
    check_current(engine)
    with engine.serving():
        wait_until(lambda: execute(url, CONNECTIONS) == [(0,)], "the end of the connection")
    engine.close()


class TestSlowReads:
    """A read that takes too long keeps no backend busy, and is not tried again."""

    SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)'"
    SLOW = "SELECT nextval('tries'), pg_sleep(60)"  # a sequence is not rolled back: it counts the tries

    def test_postgresql_ends_it(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether or not anyone still waits for it."""
        execute(url, "CREATE SEQUENCE tries")
        monkeypatch.setattr(engine_module, "READ_OPTIONS", f"{connections.OPTIONS} -c statement_timeout=0.3s")
        engine = PostgresEngine(url)
        with engine.serving():
            with pytest.raises(StorageUnavailableError, match="statement timeout"):
                engine.open_reader()._query(self.SLOW, ())  # noqa: SLF001 - no read of ours is slow enough
            assert execute(url, self.SLEEPING.replace("%", "%%"), ()) == [(0,)]
        engine.close()
        assert execute(url, "SELECT last_value FROM tries") == [(1,)]

    def test_it_is_not_tried_again_when_postgresql_is_silent(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second try would outlast every caller."""
        execute(url, "CREATE SEQUENCE tries")
        monkeypatch.setattr(connections, "SILENCE_SECONDS", 0.3)
        engine = PostgresEngine(url)
        with engine.serving(), pytest.raises(StorageUnavailableError, match="silent"):
            engine.open_reader()._query(self.SLOW, ())  # noqa: SLF001 - as above
        engine.close()
        assert execute(url, "SELECT last_value FROM tries") == [(1,)]

    async def test_a_read_waits_for_a_lock_once(
        self, url: str, monkeypatch: pytest.MonkeyPatch, statements: list[str]
    ) -> None:
        """Such as a migration's."""
        monkeypatch.setattr(engine_module, "READ_OPTIONS", f"{connections.OPTIONS} -c lock_timeout=0.3s")
        engine = PostgresEngine(url)
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE heads")
            with pytest.raises(StorageUnavailableError, match="lock timeout"):
                await engine.open_reader().probe()
        engine.close()
        assert statements.count(PostgresReadStatements(engine.database).probe) == 1

    def test_the_limit_is_set_for_reads_alone(self, url: str) -> None:
        """A batch may wait longer, for the log."""
        engine = PostgresEngine(url)
        limit = "SELECT current_setting('statement_timeout')"
        assert engine.open_reader()._query(limit, ()) == [("5s",)]  # noqa: SLF001 - as above
        assert engine.database.execute_sql(limit).fetchall() == [("0",)]
        engine.close()


class TestCost:
    """What PostgreSQL is asked to do for a call does not grow with what there is, or what comes together."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[PostgresEngine]:
        engine = PostgresEngine(url)
        yield engine
        engine.close()

    def test_a_batch_takes_as_many_statements_whatever_its_size(
        self, engine: PostgresEngine, statements: list[str]
    ) -> None:
        """Each kind of operation is loaded and written as a set."""
        store = engine.open_store()

        def cost(size: int) -> int:
            """Of a batch with that many submits, updates and deletes each."""
            operations = [submit(f"{size}-{number}") for number in range(3 * size)]
            events = [outcome for outcome in store.transact(operations).outcomes if isinstance(outcome, SyncEvent)]
            statements.clear()
            store.transact(
                [
                    *(submit(f"{size}+{number}") for number in range(size)),
                    *(UpdateOperation(event.sync_event_id, None, "changed") for event in events[:size]),
                    *(DeleteOperation(event.sync_event_id) for event in events[size : 2 * size]),
                ]
            )
            return len(statements)

        assert cost(1) == cost(80) == 13
        store.close()

    async def test_a_page_and_a_snapshot_are_one_query_each(
        self, engine: PostgresEngine, statements: list[str]
    ) -> None:
        """With the total, whether or not anything is pending."""
        store, reader = engine.open_store(), engine.open_reader()
        for _ in range(2):
            store.transact([submit(str(number)) for number in range(100)])
            for read in (reader.page(1, 100, None), reader.page(9, 100, MENTOR_ID), reader.snapshot(MENTOR_ID)):
                statements.clear()
                await read
                assert len(statements) == 1
        store.close()

    @pytest.mark.parametrize("events", [0, 30, 300, 50_000])
    def test_every_statement_is_served_by_an_index(
        self, url: str, engine: PostgresEngine, statements: list[str], events: int
    ) -> None:
        """By the plan for any parameters, also by one made while the tables were empty, or so small that going through
        all of them was cheaper.
        """
        if events:
            fill(url, events)
        store = engine.open_store()
        event = only_event(store, submit("event"))
        other = only_event(store, submit("other"))
        statements.clear()
        store.transact(
            [submit("new"), UpdateOperation(event.sync_event_id, None, "x"), DeleteOperation(other.sync_event_id)]
        )
        reads = PostgresReadStatements(engine.database)
        indexes = dict.fromkeys((sql for sql in statements if sql not in ("BEGIN", "COMMIT")), "")
        indexes[reads.page] = "using events_pending on events"
        indexes[reads.page_from_end] = "Scan Backward using events_pending on events"
        indexes[reads.mentor_page] = indexes[reads.snapshot] = "using events_pending_of_mentor on events"
        assert len(indexes) == 15
        for sql, index in indexes.items():
            plan = generic_plan(engine, sql)
            assert index in plan
            assert not re.search("Seq Scan|Hash Join|Merge Join|JIT", plan), plan

    def test_no_statement_is_planned_for_each_call(self, url: str, engine: PostgresEngine) -> None:
        """PostgreSQL would plan a page anew each time, since it knows nothing of a limit that is a parameter."""
        fill(url, 50_000)
        connection = engine.database.connection()
        for _ in range(20):
            connection.execute(PostgresReadStatements(engine.database).page, (0, 20, 0))
        plans = connection.execute("SELECT generic_plans > 0, custom_plans FROM pg_prepared_statements").fetchall()
        assert plans == [(True, 0)]


def fill(url: str, events: int) -> None:
    """Puts events in, of which a fifth are acknowledged, of 500 mentors."""
    execute(url, INSERT_EVENTS, (events,))
    execute(url, INSERT_MENTORS)
    execute(url, "UPDATE heads SET last_revision = %s", (events,))
    execute(url, "VACUUM ANALYZE")


def generic_plan(engine: PostgresEngine, sql: str) -> str:
    """PostgreSQL's own word on how it runs a statement whose parameters it does not know."""
    connection = engine.database.connection()
    connection.execute("SET plan_cache_mode = force_generic_plan")
    parts = sql.split("%s")
    numbered = "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], start=1)) + parts[-1]
    connection.execute(f"PREPARE explained AS {numbered}")
    nulls = ", ".join(["NULL"] * (len(parts) - 1))
    rows = connection.execute(f"EXPLAIN EXECUTE explained{f'({nulls})' if nulls else ''}").fetchall()
    connection.execute("DEALLOCATE explained")
    return "\n".join(line for (line,) in rows)
