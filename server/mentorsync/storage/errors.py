"""What storage can fail with, whatever the engine."""


class StorageError(Exception):
    """The base of all failures of storage."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached, or cannot read or write now. Repeating later may succeed."""


class OverloadedError(StorageError):
    """Too many writes wait already; this one was not queued."""


class StorageSetupError(StorageError):
    """The database cannot be used as it stands. The message tells an operator what to do."""
