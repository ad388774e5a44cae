"""Behaviour of PostgreSQL alone: locks, lost connections, query plans, and several writers of one log."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from unittest import mock

import psycopg
import pytest
from mentorsync.domain.operations import DeleteOperation, Operation, SubmitOperation, UpdateOperation
from mentorsync.domain.records import SyncEvent
from mentorsync.domain.status import EventType
from mentorsync.storage.errors import StorageSetupError, StorageUnavailableError
from mentorsync.storage.migrator import check_current, migrate
from mentorsync.storage.postgres import connections, heads
from mentorsync.storage.postgres import engine as engine_module
from mentorsync.storage.postgres import store as store_module
from mentorsync.storage.postgres.engine import PostgresEngine
from mentorsync.storage.postgres.statements import PostgresReadStatements
from mentorsync.storage.postgres.store import PostgresStore
from mentorsync.time_limits import RETRY_SECONDS

from tests.databases import Databases, execute
from tests.dying_with import dying_with_us
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
# A rollback does not reset a sequence: it counts the attempts.
FAIL_TWICE = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') < 3 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '{}'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail_twice BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail_twice();
"""
INSERT_MENTORS = "INSERT INTO mentors SELECT mentor_id, 2, max(sequence), 0, count(*) FROM events GROUP BY mentor_id"


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


class HangingClock(Clock):
    """Hangs when the first batch reads it, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.read = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> int:
        self.read.set()
        assert self.released.wait(WAIT_SECONDS)
        return super().__call__()


def test_a_server_that_hangs_inside_a_batch_loses_the_lock(open_store: Callable[..., PostgresStore]) -> None:
    """Other servers write without an error, and the batch that hung is written once, after them."""
    clock = HangingClock()
    hanging, other = open_store(clock), open_store()
    with ThreadPoolExecutor(1) as thread:
        try:
            outcome = thread.submit(only_event, hanging, submit("hanging"))
            assert clock.read.wait(WAIT_SECONDS)
            assert only_event(other, submit("other")).sequence == 1
        finally:
            clock.released.set()
        assert outcome.result(WAIT_SECONDS).sequence == 2
    assert only_event(other, submit("hanging")) == outcome.result()


def test_a_server_that_freezes_between_two_statements_loses_the_lock(
    url: str, open_store: Callable[..., PostgresStore]
) -> None:
    """PostgreSQL counts no idle time there. Others write without an error, and the frozen server goes on after them."""
    command = dying_with_us([sys.executable, "-m", "tests.storage.freezing_writer", url])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as frozen:
        try:
            os.waitid(os.P_PID, frozen.pid, os.WSTOPPED)
            wait_until(lambda: locks(url) == [(mock.ANY, "active")], "the batch")
            assert only_event(open_store(), submit("other")).sequence == 1
            frozen.send_signal(signal.SIGCONT)
            assert frozen.communicate(timeout=WAIT_SECONDS)[0] == "2\n"
        finally:
            frozen.kill()


def test_postgresql_16_gets_no_setting_that_it_does_not_know() -> None:
    """There, a server that freezes between two statements keeps the lock."""
    assert heads.lock_log(160_009) == heads.LOCK_LOG
    assert heads.lock_log(170_000) == heads.LOCK_LOG_WITH_LIMIT


def test_an_operation_that_fails_leaves_no_lock_behind(url: str, open_store: Callable[..., PostgresStore]) -> None:
    """Its transaction ends, whatever the error is."""
    store = open_store()
    with pytest.raises(ValueError, match="surrogate"):
        store.transact([POISON])
    assert locks(url) == []
    assert only_event(store, submit("next")).sequence == 1


def test_a_transaction_without_operations_fails_while_writes_fail(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the probe for writes: a database that can only be read does not count as available."""
    monkeypatch.setattr(store_module, "RETRY_SECONDS", 0)
    with closing(PostgresEngine(f"{url}?options=-c%20default_transaction_read_only%3Don")) as engine:
        store = engine.open_store()
        for operations in ([submit("in vain")], []):
            with pytest.raises(StorageUnavailableError, match="read-only"):
                store.transact(operations)


class TestEncoding:
    """A reason may have any character."""

    def test_a_database_that_cannot_store_every_character_is_refused(self, databases: Databases) -> None:
        """A phone could never send a reason with an emoji there."""
        with (
            databases.fresh("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'") as url,
            closing(PostgresEngine(url)) as engine,
            pytest.raises(StorageSetupError, match=r"has the encoding LATIN1.* UTF8"),
        ):
            migrate(engine)

    def test_a_database_without_an_encoding_stores_utf_8(
        self, databases: Databases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the environment wants. A server that was set up without a locale makes such databases."""
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        with (
            databases.fresh("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'") as url,
            closing(PostgresEngine(url)) as engine,
        ):
            migrate(engine)
            check_current(engine)
            operation = SubmitOperation(MENTOR_ID, PAUSE, "\N{CROISSANT}", None, "k")
            event = only_event(engine.open_store(), operation)
            assert only_event(engine.open_store(), operation) == event
            assert event.reason == "\N{CROISSANT}"


def test_a_batch_that_postgresql_refused_has_no_unknown_outcome(
    url: str, monkeypatch: pytest.MonkeyPatch, statements: list[str]
) -> None:
    """The connection is there, so PostgreSQL refused the COMMIT, too: there is nothing to look up."""
    monkeypatch.setattr(store_module, "RETRY_SECONDS", 0)
    with closing(PostgresEngine(f"{url}?options=-c%20default_transaction_read_only%3Don")) as engine:
        store = engine.open_store()
        with pytest.raises(StorageUnavailableError, match="read-only"):
            store.transact([submit("in vain")])
    assert statements.count("BEGIN") == 1
    assert heads.SELECT_NEXT_HEAD not in statements


def test_a_transaction_without_operations_changes_nothing(url: str, open_store: Callable[..., PostgresStore]) -> None:
    """The log's head stays as it is."""
    store = open_store()
    store.transact([submit("event")])
    before = execute(url, "SELECT * FROM heads ORDER BY last_revision")
    assert store.transact([]).head.last_revision == 1
    assert execute(url, "SELECT * FROM heads ORDER BY last_revision") == before


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_transaction_that_postgresql_aborts_is_tried_again(
    url: str, open_store: Callable[..., PostgresStore], sqlstate: str
) -> None:
    """A serialization failure and a deadlock are retried until the batch is written, once."""
    execute(url, FAIL_TWICE.format(sqlstate))
    assert only_event(open_store(), submit("once")).sequence == 1
    assert execute(url, "SELECT last_value FROM tries") == [(3,)]
    assert execute(url, "SELECT count(*) FROM events") == [(1,)]


class FakeTime:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return round(sum(self.pauses), 9)  # without the errors of adding floats

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class TestBackOff:
    """How long a batch is tried again while the database is down."""

    @pytest.fixture
    def time(self, monkeypatch: pytest.MonkeyPatch) -> FakeTime:
        fake = FakeTime()
        monkeypatch.setattr(store_module, "time", fake)
        return fake

    @pytest.fixture
    def store(self) -> Iterator[PostgresStore]:
        """A store whose database has no server."""
        engine = PostgresEngine(f"postgresql://127.0.0.1:{free_port()}/nowhere")
        yield engine.open_store()
        engine.close()

    def test_pauses_grow_and_are_random(self, store: PostgresStore, time: FakeTime) -> None:
        """The longest possible pause doubles each time, and the last pause ends with RETRY_SECONDS."""
        with pytest.raises(StorageUnavailableError):
            store.transact([submit("in vain")])
        *pauses, last = time.pauses
        longest = [store_module.FIRST_PAUSE_SECONDS * 2**number for number in range(len(pauses))]
        assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
        assert len({pause / most for pause, most in zip(pauses, longest, strict=True)}) == len(pauses) > 3
        assert last <= longest[-1] * 2
        assert sum(time.pauses) == pytest.approx(RETRY_SECONDS)

    def test_batches_after_the_first_fail_at_once(self, store: PostgresStore, time: FakeTime) -> None:
        """Only the first batch of an outage waits for the database."""
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
    """The connection is lost at COMMIT, so that the server does not know whether the batch was committed."""

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
        """Only the batch's head shows whether it was committed."""
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
        """The batch is looked up even if the wait for the answer took all the time for retries."""
        monkeypatch.setattr(connections, "SILENCE_SECONDS", 2.0)  # the look-up needs an answer within it, too
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
        """The first update was committed before the other, so its answer says so, and it is not repeated."""
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
    """The connection that checked the schema is closed: docs/operations.md counts the others only."""
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
        """The backend is free again, whether or not the caller still waits."""
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
        """A second attempt would take longer than any caller waits."""
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
        """A migration, for example, may hold the lock."""
        monkeypatch.setattr(engine_module, "READ_OPTIONS", f"{connections.OPTIONS} -c lock_timeout=0.3s")
        engine = PostgresEngine(url)
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE heads")
            with pytest.raises(StorageUnavailableError, match="lock timeout"):
                await engine.open_reader().probe()
        engine.close()
        assert statements.count(PostgresReadStatements(engine.database).probe) == 1

    def test_the_limit_is_set_for_reads_alone(self, url: str) -> None:
        """A batch may wait longer for the log's lock."""
        engine = PostgresEngine(url)
        limit = "SELECT current_setting('statement_timeout')"
        assert engine.open_reader()._query(limit, ()) == [("5s",)]  # noqa: SLF001 - as above
        assert engine.database.execute_sql(limit).fetchall() == [("0",)]
        engine.close()


class TestCost:
    """The work of a call grows neither with the size of the tables nor with the size of a batch."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[PostgresEngine]:
        engine = PostgresEngine(url)
        yield engine
        engine.close()

    def test_a_batch_takes_as_many_statements_whatever_its_size(
        self, engine: PostgresEngine, statements: list[str]
    ) -> None:
        """One statement loads or writes all operations of a kind."""
        store = engine.open_store()

        def cost(size: int) -> int:
            """The number of statements of a batch with `size` submits, updates and deletes each."""
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
        """The query returns the total, too, even if nothing is pending."""
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
        """A plan uses an index even if it was made while the tables were so small that a scan was cheaper."""
        if events:
            fill(url, events)
        store = engine.open_store()
        event = only_event(store, submit("event"))
        other = only_event(store, submit("other"))
        statements.clear()
        store.transact(
            [submit("new"), UpdateOperation(event.sync_event_id, None, "x"), DeleteOperation(other.sync_event_id)]
        )
        store.transact([])
        reads = PostgresReadStatements(engine.database)
        indexes = dict.fromkeys((sql for sql in statements if sql not in ("BEGIN", "COMMIT")), "")
        indexes[reads.page] = "using events_pending on events"
        indexes[reads.page_from_end] = "Scan Backward using events_pending on events"
        indexes[reads.mentor_page] = indexes[reads.snapshot] = "using events_pending_of_mentor on events"
        assert len(indexes) == 16
        for sql, index in indexes.items():
            plan = generic_plan(engine, sql)
            assert index in plan
            assert not re.search("Seq Scan|Hash Join|Merge Join|JIT", plan), plan

    def test_no_statement_is_planned_for_each_call(self, url: str, engine: PostgresEngine) -> None:
        """By default PostgreSQL would plan a page again for each call, because its limit is a parameter."""
        fill(url, 50_000)
        connection = engine.database.connection()
        for _ in range(20):
            connection.execute(PostgresReadStatements(engine.database).page, (0, 20, 0))
        plans = connection.execute("SELECT generic_plans > 0, custom_plans FROM pg_prepared_statements").fetchall()
        assert plans == [(True, 0)]


def fill(url: str, events: int) -> None:
    """Inserts events of 500 mentors. A fifth of the events are acknowledged."""
    execute(url, INSERT_EVENTS, (events,))
    execute(url, INSERT_MENTORS)
    execute(url, "UPDATE heads SET last_revision = %s", (events,))
    execute(url, "VACUUM ANALYZE")


def generic_plan(engine: PostgresEngine, sql: str) -> str:
    """PostgreSQL's plan of a statement for any parameters."""
    connection = engine.database.connection()
    connection.execute("SET plan_cache_mode = force_generic_plan")
    parts = sql.split("%s")
    numbered = "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], start=1)) + parts[-1]
    connection.execute(f"PREPARE explained AS {numbered}")
    nulls = ", ".join(["NULL"] * (len(parts) - 1))
    rows = connection.execute(f"EXPLAIN EXECUTE explained{f'({nulls})' if nulls else ''}").fetchall()
    connection.execute("DEALLOCATE explained")
    return "\n".join(line for (line,) in rows)
