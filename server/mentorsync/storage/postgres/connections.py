"""Connections to PostgreSQL: how long they wait, and what their failures mean."""

from typing import Any

import peewee
import psycopg
from peewee import PostgresqlDatabase
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from mentorsync.time_limits import (
    CONNECT_SECONDS,
    IDLE_IN_TRANSACTION_SECONDS,
    LOCK_SECONDS,
    READ_SECONDS,
    SILENCE_SECONDS,
    TCP_USER_SECONDS,
)

# Defaults that a URL may override.
CONNECTION: dict[str, Any] = {
    "application_name": "mentorsync",
    "client_encoding": "utf8",  # whatever PGCLIENTENCODING says
    "connect_timeout": int(CONNECT_SECONDS),
    "keepalives_idle": 5,  # seconds
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": int(TCP_USER_SECONDS * 1_000),
}
OPTIONS = (
    # A replica that hangs must not keep the log's lock: PostgreSQL ends its transaction. The others wait for the lock
    # for longer than two such replicas can keep it.
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS:g}s -c lock_timeout={LOCK_SECONDS:g}s "
    "-c default_transaction_isolation=read\\ committed "
    # Every statement has an index. While the tables are small, the planner would choose to read all their rows, and
    # PostgreSQL would keep that plan while they grow. For a page of unknown size, the planner expects so many rows
    # that it would compile the query to machine code, or plan it again for each call.
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off "
    "-c plan_cache_mode=force_generic_plan"
)
# Writes have no such limit: they are limited by the time during which a batch is tried again.
READ_OPTIONS = f"{OPTIONS} -c statement_timeout={READ_SECONDS:g}s"
ENCODINGS = ("UTF8", "SQL_ASCII")  # of databases that store every text as it is sent, in UTF-8
CLOCK = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
# Another attempt may succeed: the connection was lost, another transaction won (40001, 40P01, 55P03), an id was in
# use, or the server is no longer the primary.
TRANSIENT = (
    peewee.OperationalError,  # when connecting
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.UniqueViolation,
    errors.ReadOnlySqlTransaction,
)
FAILURES = (psycopg.Error, peewee.DatabaseError)


class SilenceError(psycopg.OperationalError):
    """The server did not answer in time."""


# A read that took too long, or waited for a lock for too long, would do so again.
TOO_SLOW = (SilenceError, errors.QueryCanceled, errors.LockNotAvailable)


class ImpatientConnection(psycopg.Connection[Any]):
    """Ends when the server is silent for too long: a server that hangs keeps its connections open."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, SILENCE_SECONDS if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001 - psycopg has no other name for it
            self.pgconn.finish()
            raise SilenceError(f"the database was silent for {SILENCE_SECONDS:g} s") from error


class Database(PostgresqlDatabase):
    """Remembers its connections, one for each thread, so that all can be closed at the end."""

    def __init__(self, url: str, options: str = OPTIONS) -> None:
        super().__init__(url, prefer_psycopg3=True)
        self.connection_type: type[psycopg.Connection[Any]] = psycopg.Connection
        self._options = options
        self._opened: set[psycopg.Connection[Any]] = set()  # a connection stays open when its thread ends

    def _connect(self) -> psycopg.Connection[Any]:
        given = conninfo_to_dict(self.database)
        options = f"{self._options} {given.get('options') or ''}"
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
