"""Fills databases with millions of events a minute: by SQL, with the indexes built afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from mentorsync.domain.operations import DIGEST_BYTES
from mentorsync.storage.engine import open_engine
from mentorsync.storage.migrator import migrate
from peewee import SqliteDatabase

from tests.benchmarks.peers.orm_models import Event, Mentor, open_database

FIRST_TIMESTAMP = 1_750_000_000_000_000  # microseconds; event n was decided n microseconds later
# Odd, so that number * SCATTER % 2^32 gives each number another id, in an order as random as that of drawn ids.
SCATTER, SCATTER_MODULUS = 2_654_435_761, 2**32
DIGEST = "0" * DIGEST_BYTES * 2


def event_id(number: int) -> str:
    """The id of the event with this sequence. requests.lua computes the same."""
    return f"evt_{number * SCATTER % SCATTER_MODULUS:08X}"


def mentor_id(number: int) -> str:
    return f"mntr_{number:06}"


def fill(url: str, events: int, pending: int, mentors: int) -> None:
    """Makes a database of the service. The first `pending` events are pending, the others acknowledged; event n is the
    mentor's with number n modulo `mentors`. Every mentor is paused.
    """
    engine = open_engine(url)
    migrate(engine)
    database = engine.database
    is_sqlite = isinstance(database, SqliteDatabase)
    if is_sqlite:
        database.execute_sql("PRAGMA synchronous = off")  # of this connection alone
        database.execute_sql("PRAGMA cache_size = -262144")  # KiB
    with database.atomic(), _without_indexes(database, is_sqlite=is_sqlite):
        _insert(database, events, pending, mentors, is_sqlite=is_sqlite)
    if is_sqlite:
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        database.connection().execute("VACUUM ANALYZE")  # what autovacuum would soon do
    engine.close()


def _insert(database: Any, events: int, pending: int, mentors: int, *, is_sqlite: bool) -> None:
    def hexadecimal(digits: int, value: str) -> str:
        return f"printf('%0{digits}X', {value})" if is_sqlite else f"lpad(upper(to_hex({value})), {digits}, '0')"

    def numbered_mentor(value: str) -> str:
        return f"printf('mntr_%06d', {value})" if is_sqlite else f"'mntr_' || lpad(({value})::text, 6, '0')"

    scattered = f"n * {SCATTER} % {SCATTER_MODULUS}"
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT {0} UNION ALL SELECT n + 1 FROM numbers WHERE n < {1}) "
    if not is_sqlite:
        numbers = "WITH numbers(n) AS (SELECT generate_series({0}::bigint, {1})) "
    # All that is put into the text below are names and numbers of this module.
    insert_events = f"""INSERT INTO events {numbers.format(1, events)}
        SELECT n, n, 'evt_' || {hexadecimal(8, scattered)}, {numbered_mentor(f"n % {mentors}")}, 1, NULL, TRUE, 2,
          n > {pending}, 'Taking a short break', {FIRST_TIMESTAMP} + n, {FIRST_TIMESTAMP} + n, NULL,
          {hexadecimal(8, scattered)} || {hexadecimal(24, "n")}, '{DIGEST}' FROM numbers"""  # noqa: S608
    insert_mentors = f"""INSERT INTO mentors {numbers.format(0, mentors - 1)}
        SELECT {numbered_mentor("n")}, 2, {FIRST_TIMESTAMP + events}, {FIRST_TIMESTAMP // 1_000_000},
          ({pending} + {mentors} - n) / {mentors} - CASE n WHEN 0 THEN 1 ELSE 0 END FROM numbers"""  # noqa: S608
    put_head = f"""UPDATE {"log" if is_sqlite else "heads"} SET last_revision = {events},
          last_server_timestamp = {FIRST_TIMESTAMP + events}, pending_total = {pending}"""  # noqa: S608
    for statement in (insert_events, insert_mentors, put_head):
        database.connection().execute(statement)  # past Peewee, to which a % announces a parameter


@contextmanager
def _without_indexes(database: Any, *, is_sqlite: bool) -> Iterator[None]:
    catalogue = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL"
        if is_sqlite
        else "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'events' AND indexname NOT LIKE '%pkey'"
    )
    connection = database.connection()
    indexes = connection.execute(catalogue).fetchall()
    for name, _definition in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    for _name, definition in indexes:
        connection.execute(definition)


def fill_orm(url: str, events: int, pending: int, mentors: int) -> None:
    """The same contents, for the storage that uses the ORM."""
    database = open_database(url)
    with database.atomic():
        _insert_rows(database, Event, _orm_events(events, pending, mentors))
        _insert_rows(database, Mentor, _orm_mentors(events, mentors))
    database.close()


def _insert_rows(database: Any, model: Any, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    sql, _ = model.insert(first).sql()  # compiled once: this is not what is measured
    database.connection().executemany(sql, (tuple(row.values()) for row in chain([first], rows)))


def _orm_events(events: int, pending: int, mentors: int) -> Iterator[dict[str, Any]]:
    for number in range(1, events + 1):
        yield {
            "sync_event_id": event_id(number),
            "mentor_id": mentor_id(number % mentors),
            "event_type": 1,
            "accepted": True,
            "resulting_status": 2,
            "acknowledged": number > pending,
            "pending": number <= pending,
            "reason": "Taking a short break",
            "server_timestamp": FIRST_TIMESTAMP + number,
            "updated_at": FIRST_TIMESTAMP + number,
            "payload_digest": DIGEST,
        }


def _orm_mentors(events: int, mentors: int) -> Iterator[dict[str, Any]]:
    for number in range(mentors):
        yield {
            "mentor_id": mentor_id(number),
            "status": 2,
            "last_updated": FIRST_TIMESTAMP + events,
            "last_effective_time": FIRST_TIMESTAMP // 1_000_000,
        }
