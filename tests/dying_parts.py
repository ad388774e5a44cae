"""Makes one part of the real server die when a file appears: the writer, the health watch or the metrics server.

Run as a program it is `mentorsync serve`; Envoy hosts `app`. MENTORSYNC_TEST_PART names the part, and
MENTORSYNC_TEST_TRIGGER the file.
"""

import os
import sys
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from mentorsync import embedded
from mentorsync.cli import main
from mentorsync.storage.reader import Reader
from mentorsync.storage.sqlite.store import SqliteStore

METHODS: dict[str, tuple[type, str]] = {
    "writer": (SqliteStore, "run_maintenance"),
    "health watch": (Reader, "probe"),
    "metrics server": (BaseServer, "service_actions"),
}


class DeathError(BaseException):
    """Not an Exception: nothing that handles foreseen failures takes it for one."""


def make_mortal(owner: type, name: str, trigger: Path) -> None:
    """Makes every call of a method fail once the file exists. Each of METHODS is called about once a second."""
    method: Any = getattr(owner, name)

    def mortal(*arguments: Any) -> Any:
        if trigger.exists():
            raise DeathError("killed by the test")
        return method(*arguments)

    setattr(owner, name, mortal)


if part := os.environ.get("MENTORSYNC_TEST_PART"):
    make_mortal(*METHODS[part], Path(os.environ["MENTORSYNC_TEST_TRIGGER"]))
app = embedded.app

if __name__ == "__main__":
    sys.exit(main(["serve"]))
