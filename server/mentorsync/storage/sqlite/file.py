"""The database file: whether the path still names the file that is open."""

import os
from pathlib import Path

from mentorsync.storage.errors import StorageUnavailableError


class DatabaseFile:
    """Notices when the file is removed or replaced while it is open.

    SQLite would continue to write to the old file, which no longer has a name. After a restart, all those writes would
    be lost. `is_lost` is the result of the last check.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_lost = False
        self._opened: tuple[int, int] | None = None

    def remember(self) -> None:
        """Notes which file is at the path. To be called while a connection to it is open."""
        self._opened = self._present()

    def check(self) -> None:
        """Raises StorageUnavailableError if the path does not name the file that was opened. Costs one stat."""
        self.is_lost = self._opened is not None and self._present() != self._opened
        if self.is_lost:
            raise StorageUnavailableError(
                f"the database file {self.path} was removed or replaced while in use, so reads and writes are refused: "
                "put the same file back, or stop the server, restore the file from a backup and start the server"
            )

    def refuse_if_lost(self) -> None:
        """Raises StorageUnavailableError if the last check failed and the file is not back yet."""
        if self.is_lost:
            self.check()

    def _present(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - Path.stat takes twice as long, and this is in every batch
        except OSError:
            return None
        return status.st_dev, status.st_ino
