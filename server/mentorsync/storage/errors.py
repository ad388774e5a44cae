"""The failures of storage, for every engine."""


class StorageError(Exception):
    """The base of all failures of storage."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached, or cannot read or write now. Repeating later may succeed."""


class OverloadedError(StorageError):
    """Too many calls of this kind are waiting. This one was not queued, and nothing was done."""


class StorageSetupError(StorageError):
    """The database cannot be used as it is. The message says what an operator must do."""


class WriterFailedError(StorageError):
    """An unforeseen exception ended the writer's thread. The process must be restarted."""


class PurgeStoppedError(StorageError):
    """The database failed during a purge. Events that were removed before that stay removed."""
