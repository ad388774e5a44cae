"""Databases for tests, on one PostgreSQL server."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from mentorsync.storage.engine import open_engine
from mentorsync.storage.migrator import migrate
from psycopg.sql import SQL, Identifier

SQLITE = "sqlite:///"


class Databases:
    """Creates and drops databases. `url` names any database of the server; the commands run on a connection to it."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def fresh(self, options: LiteralString = "") -> Iterator[str]:
        """Yields the URL of a new empty database, and drops the database at the end of the block."""
        url = self.create(options)
        try:
            yield url
        finally:
            self.drop(url)

    def create(self, options: LiteralString = "") -> str:
        name = f"mentorsync_test_{secrets.token_hex(8)}"
        self._execute("CREATE DATABASE {} " + options, name)
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        self._execute("DROP DATABASE {} WITH (FORCE)", urlsplit(url).path.removeprefix("/"))

    def _execute(self, command: LiteralString, name: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(SQL(command).format(Identifier(name)))


def migrate_database(url: str) -> None:
    """Brings a database of either engine to this version's schema."""
    engine = open_engine(url)
    migrate(engine)
    engine.close()


def execute(url: str, sql: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Runs one statement on a new connection to a database of either engine, and returns its rows."""
    if url.startswith(SQLITE):
        with closing(sqlite3.connect(url.removeprefix(SQLITE), isolation_level=None)) as file:
            return file.execute(sql, parameters or ()).fetchall()
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
