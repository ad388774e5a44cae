"""The tables of the storage that uses Peewee as its ORM, as its documentation teaches it."""

from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    Database,
    DatabaseProxy,
    Model,
    PostgresqlDatabase,
    SmallIntegerField,
    SqliteDatabase,
    TextField,
)

BUSY_SECONDS = 30  # as long as it takes: with a shorter time, writers that wait for the lock fail under load
SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",  # an answered write survives a power cut, as with every variant here
    "cache_size": -16_384,  # KiB
}


class OrmModel(Model):
    class Meta:
        database = DatabaseProxy()
        legacy_table_names = False


class Mentor(OrmModel):
    mentor_id = TextField(primary_key=True)
    status = SmallIntegerField()
    last_updated = BigIntegerField()
    last_effective_time = BigIntegerField()


class Event(OrmModel):
    """A sync event; its automatic id gives the order. `pending` is kept as a column, so that an index serves lists."""

    sync_event_id = TextField(unique=True)
    mentor_id = TextField()
    event_type = SmallIntegerField()
    client_timestamp = BigIntegerField(null=True)
    accepted = BooleanField()
    resulting_status = SmallIntegerField()
    acknowledged = BooleanField()
    pending = BooleanField()
    reason = TextField()
    server_timestamp = BigIntegerField()
    updated_at = BigIntegerField()
    deleted_at = BigIntegerField(null=True)
    request_key = TextField(null=True, unique=True)
    payload_digest = TextField()

    class Meta:
        indexes = ((("pending", "id"), False), (("mentor_id", "pending", "id"), False))


def open_database(url: str) -> Database:
    """The database behind a URL, with the models bound to it and their tables made."""
    database: Database = _database(url)
    database.bind([Mentor, Event])
    database.create_tables([Mentor, Event])
    return database


def _database(url: str) -> Any:
    if url.startswith("sqlite:///"):
        return SqliteDatabase(url.removeprefix("sqlite:///"), pragmas=SQLITE_PRAGMAS, timeout=BUSY_SECONDS)
    return PostgresqlDatabase(url)
