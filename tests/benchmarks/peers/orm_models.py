"""The tables of the ORM storage, written as Peewee's documentation recommends."""

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

BUSY_SECONDS = 30  # with a shorter time, writers that wait for the lock would fail under load
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
    """A sync event. Its automatic id gives the order. `pending` is a column, so that lists can use an index."""

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
    """Opens the database of a URL, binds the models to it and creates their tables."""
    database: Database = _database(url)
    database.bind([Mentor, Event])
    database.create_tables([Mentor, Event])
    return database


def _database(url: str) -> Any:
    if url.startswith("sqlite:///"):
        return SqliteDatabase(url.removeprefix("sqlite:///"), pragmas=SQLITE_PRAGMAS, timeout=BUSY_SECONDS)
    return PostgresqlDatabase(url)
