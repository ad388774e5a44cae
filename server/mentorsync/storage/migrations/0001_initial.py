"""The log, the mentors and their events."""

from typing import Any

from peewee import SqliteDatabase

PENDING = "accepted AND NOT acknowledged AND deleted_at IS NULL"


def up(_migrator: Any, db: Any) -> None:
    is_sqlite = isinstance(db, SqliteDatabase)
    if not is_sqlite:
        # Here a writer that lost its connection at COMMIT finds out whether that batch was committed.
        db.execute_sql(
            "CREATE TABLE writers (writer_id TEXT PRIMARY KEY, last_batch BIGINT NOT NULL, updated_at BIGINT NOT NULL)"
        )
    # On SQLite only a column of exactly the type INTEGER can be the table's own key.
    sequence = "INTEGER" if is_sqlite else "BIGINT"
    clustered = "WITHOUT ROWID" if is_sqlite else ""  # one tree instead of two
    for statement in (
        """CREATE TABLE log (
            id SMALLINT PRIMARY KEY CHECK (id = 1),
            last_revision BIGINT NOT NULL,
            last_server_timestamp BIGINT NOT NULL,
            pending_total BIGINT NOT NULL CHECK (pending_total >= 0)
        )""",
        "INSERT INTO log VALUES (1, 0, 0, 0)",
        f"""CREATE TABLE mentors (
            mentor_id TEXT PRIMARY KEY,
            status SMALLINT NOT NULL,
            last_updated BIGINT NOT NULL,
            last_effective_time BIGINT NOT NULL,
            pending_total BIGINT NOT NULL CHECK (pending_total >= 0)
        ) {clustered}""",
        f"""CREATE TABLE events (
            sequence {sequence} PRIMARY KEY,
            revision BIGINT NOT NULL,
            sync_event_id TEXT NOT NULL,
            mentor_id TEXT NOT NULL,
            event_type SMALLINT NOT NULL,
            client_timestamp BIGINT,
            accepted BOOLEAN NOT NULL,
            resulting_status SMALLINT NOT NULL,
            acknowledged BOOLEAN NOT NULL,
            reason TEXT NOT NULL,
            server_timestamp BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            deleted_at BIGINT,
            request_key TEXT,
            payload_digest TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX events_sync_event_id ON events (sync_event_id)",
        "CREATE UNIQUE INDEX events_request_key ON events (request_key) WHERE request_key IS NOT NULL",
        f"CREATE INDEX events_pending ON events (sequence) WHERE {PENDING}",
        # Holds every column that a snapshot shows, because a mentor's events are spread over the table.
        f"""CREATE INDEX events_pending_of_mentor ON events (
            mentor_id, sequence, sync_event_id, event_type, resulting_status, server_timestamp,
            accepted, acknowledged, deleted_at
        ) WHERE {PENDING}""",
    ):
        db.execute_sql(statement)
