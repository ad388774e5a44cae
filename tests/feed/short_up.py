"""The command `mentorsync`, whose service inside Envoy has short limits of the live feed."""

import sys

from mentorsync.cli import main
from mentorsync.supervisor import commands

if __name__ == "__main__":
    commands.APPLICATION = "tests.feed.short_limits:app"
    sys.exit(main())
