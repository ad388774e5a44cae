"""Connections to PostgreSQL: how long they wait, and what their failures mean."""

from typing import Any

import peewee
import psycopg
from peewee import (
    PostgresqlDatabase,
)
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

SILENCE_SECONDS = 6.0  # a server that does not answer for longer than any lock is waited for, is as good as away
# What a URL does not say itself.
CONNECTION: dict[str, Any] = {
    "application_name": "mentorsync",
    "connect_timeout": 2,  # seconds
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
OPTIONS = (
    # A frozen replica must not keep the log from all others: the server ends its transaction after 2 s, and the others
    # wait for the lock for longer than two of them can keep it.
    "-c idle_in_transaction_session_timeout=2s -c lock_timeout=5s "
    "-c default_transaction_isolation=read\\ committed "
    # Every statement has its index. A plan made while the tables were empty or small would scan them, or join by going
    # through all of them, and be kept as they grow; and of a page of unknown size the planner expects so much that it
    # would compile the query to machine code, or plan it anew for each call.
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off "
    "-c plan_cache_mode=force_generic_plan"
)
CLOCK = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
# What another attempt may mend: a lost connection, a transaction that had to give way (40001, 40P01, 55P03), an id that
# was taken, a server that is no longer the primary.
TRANSIENT = (
    peewee.OperationalError,  # when connecting
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.UniqueViolation,
    errors.ReadOnlySqlTransaction,
)
FAILURES = (psycopg.Error, peewee.DatabaseError)


class ImpatientConnection(psycopg.Connection[Any]):
    """Ends when the server is silent for too long: one that stands still keeps its connections up."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, SILENCE_SECONDS if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001 - psycopg has no other name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the database was silent for {SILENCE_SECONDS:g} s") from error


class Database(PostgresqlDatabase):
    """Remembers its connections, one for each thread, so that all can be closed at the end."""

    def __init__(self, url: str) -> None:
        super().__init__(url, prefer_psycopg3=True)
        self.connection_type: type[psycopg.Connection[Any]] = psycopg.Connection
        self._opened: set[psycopg.Connection[Any]] = set()  # what a thread has open would go with it, unclosed

    def _connect(self) -> psycopg.Connection[Any]:
        given = conninfo_to_dict(self.database)
        options = f"{OPTIONS} {given.get('options') or ''}"
        parameters: dict[str, Any] = CONNECTION | given | {"options": options}
        connection = self.connection_type.connect("", autocommit=True, **parameters)
        self._opened.add(connection)
        return connection

    def _close(self, connection: psycopg.Connection) -> None:
        self._opened.discard(connection)
        super()._close(connection)  # type: ignore[misc]

    def close_everywhere(self) -> None:
        while self._opened:
            self._opened.pop().close()
