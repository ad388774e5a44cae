"""The tables. Their definition lies in the migrations; these models are what queries are written with."""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    DatabaseProxy,
    Model,
    SmallIntegerField,
    TextField,
)

# Written out, never as parameters: only then does a planner see that the partial indexes of 0001_initial apply.
PENDING = SQL("accepted AND NOT acknowledged AND deleted_at IS NULL")
# The log's one row, by its index: PostgreSQL is told to use indexes alone, and where a statement cannot, releases up to
# 17 add so high a cost that they no longer tell the rest of a good plan from that of a bad one.
THE_ROW = SQL("id = 1")


class LogModel(Model):
    """The one row that every batch of writes locks first and writes last."""

    id = SmallIntegerField(primary_key=True)
    last_revision = BigIntegerField()
    last_server_timestamp = BigIntegerField()
    pending_total = BigIntegerField()

    class Meta:
        database = DatabaseProxy()
        table_name = "log"


class MentorModel(Model):
    """domain.records.Mentor, field for field and in its order."""

    mentor_id = TextField(primary_key=True)
    status = SmallIntegerField()
    last_updated = BigIntegerField()
    last_effective_time = BigIntegerField()
    pending_total = BigIntegerField()

    class Meta:
        database = DatabaseProxy()
        table_name = "mentors"


class EventModel(Model):
    """domain.records.SyncEvent, field for field and in its order."""

    sequence = BigIntegerField(primary_key=True)
    revision = BigIntegerField()
    sync_event_id = TextField()
    mentor_id = TextField()
    event_type = SmallIntegerField()
    client_timestamp = BigIntegerField(null=True)
    accepted = BooleanField()
    resulting_status = SmallIntegerField()
    acknowledged = BooleanField()
    reason = TextField()
    server_timestamp = BigIntegerField()
    updated_at = BigIntegerField()
    deleted_at = BigIntegerField(null=True)
    request_key = TextField(null=True)
    payload_digest = TextField()

    class Meta:
        database = DatabaseProxy()
        table_name = "events"
