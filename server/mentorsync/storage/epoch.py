"""The epoch identifies a log's history. A database that was restored continues with another history."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mentorsync.storage.engine import Engine
from mentorsync.storage.errors import StorageUnavailableError
from mentorsync.storage.models import HistoryModel

EPOCH_BITS = 63  # a BIGINT: no two histories draw the same


class EpochChange(NamedTuple):
    before: int
    after: int


def renew_epoch(engine: Engine) -> EpochChange:
    """Draws a new epoch, in one transaction. Servers that are running see it in their next read of changes.

    Raises StorageUnavailableError when the database fails; nothing was changed then.
    """
    with _transaction(engine):
        before = HistoryModel.select(HistoryModel.epoch).scalar()
        return EpochChange(before, _replace_epoch())


def renew_seen_epoch(engine: Engine, seen: int) -> None:
    """As `renew_epoch`, if the log still has the epoch of a position that was read.

    Of several servers that see the same loss, one renews the epoch. A second renewal would reset receivers again.
    """
    with _transaction(engine):
        if HistoryModel.select(engine.epoch).scalar() == seen:
            _replace_epoch()


@contextmanager
def _transaction(engine: Engine) -> Iterator[None]:
    try:
        with engine.database.bind_ctx([HistoryModel]), engine.write_transaction():
            yield
    except engine.failures as error:
        raise StorageUnavailableError(f"{engine}: the epoch was not changed: {' '.join(str(error).split())}") from error


def _replace_epoch() -> int:
    after = secrets.randbits(EPOCH_BITS)
    HistoryModel.update(epoch=after).execute()
    return after
