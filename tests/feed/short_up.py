"""The command `mentorsync`, whose service has short limits of the live feed, inside Envoy and behind it."""

import os
import sys
from pathlib import Path

from mentorsync.cli import main
from mentorsync.supervisor import commands, server

if __name__ == "__main__":
    commands.APPLICATION = "tests.feed.short_limits:app"
    server.COMMAND = (sys.executable, "-m", "tests.feed.short_limits", "serve")
    os.environ["PYTHONPATH"] = str(Path.cwd())  # the server runs in another directory
    sys.exit(main())
