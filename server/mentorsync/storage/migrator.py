"""Migrates a database to this version's schema, and refuses to serve one that has another schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peewee import PeeweeException
from playhouse.migrations import Runner

from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import StorageSetupError

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(engine: Engine) -> list[str]:
    """Applies the missing migrations, all or none, and returns their names.

    Raises StorageSetupError when the database belongs to a newer version of the service.
    """
    engine.create()
    engine.check()
    with _refusing(engine), engine.migrating():  # Peewee's runner takes no lock of its own
        runner = Runner(engine.database, str(MIGRATIONS))
        _refuse_newer(runner)
        applied: list[str] = runner.up()
    return applied


def check_current(engine: Engine) -> None:
    """Raises StorageSetupError when the database lacks a migration, or has one that this version does not know."""
    engine.check()
    with _refusing(engine):
        runner = Runner(engine.database, str(MIGRATIONS))
        _refuse_newer(runner)
        missing = [migration.name for migration in runner.status() if not migration.applied]
    if missing:
        raise StorageSetupError(f"{engine} lacks {', '.join(missing)}: run `mentorsync migrate` first")


@contextmanager
def _refusing(engine: Engine) -> Iterator[None]:
    """Turns the database's errors, of a damaged file or another program's tables, into StorageSetupError."""
    try:
        yield
    except PeeweeException as error:
        raise StorageSetupError(f"{engine} cannot be used: {' '.join(str(error).split())}") from error


def _refuse_newer(runner: Runner) -> None:
    unknown = [migration.name for migration in runner.status() if migration.path is None]
    if unknown:
        raise StorageSetupError(
            f"the database was migrated by a newer version of mentorsync ({', '.join(unknown)}): "
            "nothing was changed; run that version, or restore a backup"
        )
