"""PostgreSQL: each batch inserts a head of its own, instead of updating the one row of `log`.

A row that every batch updates slows every call while an old snapshot, such as a backup's, keeps its dead versions.
SQLite has no such versions and stays as it is.
"""

from typing import Any

from peewee import SqliteDatabase

PENDING = "accepted AND NOT acknowledged AND deleted_at IS NULL"
STATEMENTS = (
    # Servers of the previous version lock the row of `log` in every batch. This waits for the batches that are running.
    "LOCK TABLE log, writers IN ACCESS EXCLUSIVE MODE",
    """CREATE TABLE heads (
        last_revision BIGINT PRIMARY KEY,
        last_server_timestamp BIGINT NOT NULL,
        pending_total BIGINT NOT NULL CHECK (pending_total >= 0),
        first_pending BIGINT NOT NULL,
        writer_id BIGINT NOT NULL
    )""",
    f"""INSERT INTO heads SELECT
        last_revision, last_server_timestamp, pending_total,
        COALESCE((SELECT MIN(sequence) FROM events WHERE {PENDING}), last_revision + 1), 0
    FROM log""",  # noqa: S608 - of our own names
    "DROP TABLE log, writers",
    # For administrators, and for the reads of servers of the previous version.
    """CREATE VIEW log AS SELECT 1::SMALLINT AS id, last_revision, last_server_timestamp, pending_total
        FROM heads ORDER BY last_revision DESC LIMIT 1""",
    # Servers of the previous version read `writers` in every batch, before they write. They must not write any more,
    # because they do not take the lock that now orders the batches. To 40001 they answer UNAVAILABLE.
    """CREATE FUNCTION refuse_writes_of_older_versions() RETURNS TEXT LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'this database was migrated to a newer version of mentorsync: replace this server'
        USING ERRCODE = '40001';
    END $$""",
    "CREATE VIEW writers AS SELECT refuse_writes_of_older_versions() AS writer_id, 0::BIGINT AS last_batch",
)


def up(_migrator: Any, db: Any) -> None:
    if not isinstance(db, SqliteDatabase):
        for statement in STATEMENTS:
            db.execute_sql(statement)
