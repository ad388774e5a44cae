"""A table in the database that keeps every revision: the truth with which histories are compared."""

from typing import Any, Protocol

from mentorsync.domain.status import MentorStatus

from tests.feed.history import Log, State

TABLE = """CREATE TABLE audit
    (revision BIGINT, sync_event_id TEXT, mentor_id TEXT, accepted BOOLEAN, pending BOOLEAN, deleted BOOLEAN)"""
VALUES = """VALUES (new.revision, new.sync_event_id, new.mentor_id, new.accepted,
    new.accepted AND NOT new.acknowledged AND new.deleted_at IS NULL, new.deleted_at IS NOT NULL)"""
EACH = ("INSERT", "UPDATE OF revision")
SQLITE = [
    f"CREATE TRIGGER audit_{number} AFTER {event} ON events BEGIN INSERT INTO audit {VALUES}; END"
    for number, event in enumerate(EACH)
]
POSTGRES = [
    f"""CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO audit {VALUES}; RETURN NULL; END'""",
    "CREATE TRIGGER audit AFTER INSERT OR UPDATE OF revision ON events FOR EACH ROW EXECUTE FUNCTION audit()",
]


class Execute(Protocol):
    """Runs one statement on the database, and returns its rows."""

    def __call__(self, sql: str) -> list[tuple[Any, ...]]: ...


def install(execute: Execute, *, is_postgres: bool) -> None:
    for statement in (TABLE, *(POSTGRES if is_postgres else SQLITE)):
        execute(statement)


def read_log(execute: Execute, restored_revision: int | None = None) -> Log:
    """The truth, while nobody writes."""
    rows = execute("SELECT revision, sync_event_id, mentor_id, accepted, pending, deleted FROM audit")
    states = {row[0]: State(row[1], row[2], *map(bool, row[3:])) for row in rows}
    assert len(states) == len(rows), "a revision was given twice"
    pending = execute("SELECT sync_event_id FROM events WHERE accepted AND NOT acknowledged AND deleted_at IS NULL")
    statuses = execute("SELECT mentor_id, status FROM mentors")
    ((purged_revision,),) = execute("SELECT purged_revision FROM history")
    return Log(
        states,
        frozenset(one for (one,) in pending),
        {mentor_id: MentorStatus(status).name.lower() for mentor_id, status in statuses},
        purged_revision=purged_revision,
        restored_revision=restored_revision,
    )
