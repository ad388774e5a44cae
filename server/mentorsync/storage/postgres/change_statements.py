"""PostgreSQL's statements of the live feed's reads."""

from collections.abc import Sequence

from peewee import JOIN, SQL, Database, Select

from mentorsync.storage.change_statements import (
    SNAPSHOT_FIELDS,
    changes_after,
    joined,
    pending_after,
    position_columns,
)
from mentorsync.storage.models import THE_HISTORY, EventModel, HeadModel, HistoryModel, MentorModel
from mentorsync.storage.postgres.statements import member_of, newest_head
from mentorsync.storage.statements import OF_THE_MENTOR, SNAPSHOT_LIMIT, compiled, pending, published

# Each promotion of a standby begins a new timeline, which may lack the last revisions of the old one and then give
# them to other changes. So the timeline is a part of the epoch: no cursor of the old timeline is continued on the new
# one, also if nothing was lost. Whether something was lost cannot be known: a server that starts after the promotion
# has not seen the old log's end, and the new log may have grown past it since. On a standby itself the function fails,
# as it should: a standby may lack revisions, too.
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
EPOCH = SQL(f"(epoch # {TIMELINE})")


class PostgresChangeStatements:
    """The SQL of the live feed's reads. Their parameters are those of ChangeStatements."""

    def __init__(self, database: Database) -> None:
        parameter = SQL(database.param)
        head = newest_head(HeadModel.last_revision, HeadModel.first_pending).alias("head")
        epoch = EPOCH.alias("epoch")
        position = HistoryModel.select(epoch, head.c.last_revision, head.c.first_pending, HistoryModel.purged_revision)
        position = position.join(head, JOIN.CROSS).where(THE_HISTORY).alias("position")
        self.position = compiled(Select([position], position_columns(position)), database)

        events = changes_after(parameter)
        self.changes_after = compiled(joined(position, events, "revision", JOIN.LEFT_LATERAL), database)

        # As in a page of all events, the dead entries before `first_pending` are not read.
        events = pending_after(parameter, EventModel.sequence >= position.c.first_pending)
        self.pending_after = compiled(joined(position, events, "sequence", JOIN.LEFT_LATERAL), database)

        events = pending_after(parameter, EventModel.mentor_id == parameter)
        self.mentor_pending_after = compiled(joined(position, events, "sequence", JOIN.LEFT_LATERAL), database)

        events = pending(SNAPSHOT_LIMIT, OF_THE_MENTOR).alias("pending")
        columns = [*position_columns(position), *SNAPSHOT_FIELDS, *published(events)]
        query = Select([position], columns).join(MentorModel, JOIN.LEFT_OUTER, on=member_of(MentorModel.mentor_id))
        query = query.join(events, JOIN.LEFT_LATERAL, on=SQL("TRUE"))
        self.snapshots = compiled(query.order_by(MentorModel.mentor_id, events.c.sequence), database)

    @staticmethod
    def list_parameter(values: Sequence[str]) -> list[str]:
        return list(values)
