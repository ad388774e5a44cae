"""The live feed's data: an index by revision, and the identity and the beginning of the log's history.

`history` is a table of its own and not a part of `log`, so that no batch updates it: only a purge and a new epoch do.
"""

import secrets
from typing import Any

EPOCH_BITS = 63  # a BIGINT


def up(_migrator: Any, db: Any) -> None:
    db.execute_sql("""CREATE TABLE history (
        id SMALLINT PRIMARY KEY CHECK (id = 1),
        epoch BIGINT NOT NULL,
        purged_revision BIGINT NOT NULL
    )""")
    # No cursor is older than this migration, so it does not matter what was purged before.
    db.execute_sql(f"INSERT INTO history VALUES (1, {secrets.randbits(EPOCH_BITS)}, 0)")  # noqa: S608 - a number
    db.execute_sql("CREATE UNIQUE INDEX events_revision ON events (revision)")
