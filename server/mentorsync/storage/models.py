"""Peewee models of the tables, for queries. The migrations define the tables."""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    DatabaseProxy,
    Model,
    SmallIntegerField,
    TextField,
)

# Literals, never parameters: only then does a planner see that the partial indexes of 0001_initial apply.
PENDING = SQL("accepted AND NOT acknowledged AND deleted_at IS NULL")
THE_ROW = SQL("id = 1")  # of `log`


class LogModel(Model):
    """SQLite's log head: one row, which every batch updates. On PostgreSQL `log` is a view of the newest head."""

    id = SmallIntegerField(primary_key=True)
    last_revision = BigIntegerField()
    last_server_timestamp = BigIntegerField()
    pending_total = BigIntegerField()

    class Meta:
        database = DatabaseProxy()
        table_name = "log"


class HeadModel(Model):
    """PostgreSQL's log heads: one row for each batch, with a sequence before which no event is pending."""

    last_revision = BigIntegerField(primary_key=True)
    last_server_timestamp = BigIntegerField()
    pending_total = BigIntegerField()
    first_pending = BigIntegerField()
    writer_id = BigIntegerField()

    class Meta:
        database = DatabaseProxy()
        table_name = "heads"


class HistoryModel(Model):
    """One row. `epoch` identifies the log's history, and `purged_revision` is the highest that a purge removed."""

    id = SmallIntegerField(primary_key=True)
    epoch = BigIntegerField()
    purged_revision = BigIntegerField()

    class Meta:
        database = DatabaseProxy()
        table_name = "history"


THE_HISTORY = HistoryModel.id == SQL("1")  # PostgreSQL would otherwise read all dead versions of the row


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
