"""What Envoy imports: the application, without psycopg if the database is SQLite."""

import os

from mentorsync import runtime
from mentorsync.config import DATABASE_URL

runtime.leave_out_psycopg_on_sqlite(os.environ.get(DATABASE_URL.variable, DATABASE_URL.default))

from mentorsync.embedded import app  # noqa: E402, F401 - imports Peewee
