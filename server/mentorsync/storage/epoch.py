"""The epoch identifies a log's history. A database that was restored continues with another history."""

import secrets
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
    try:
        with engine.database.bind_ctx([HistoryModel]), engine.write_transaction():
            before = HistoryModel.select(HistoryModel.epoch).scalar()
            after = secrets.randbits(EPOCH_BITS)
            HistoryModel.update(epoch=after).execute()
    except engine.failures as error:
        raise StorageUnavailableError(f"{engine}: the epoch was not changed: {' '.join(str(error).split())}") from error
    return EpochChange(before, after)
