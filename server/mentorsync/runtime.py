"""How the interpreter and grpc are run where calls are served."""

import os
import sys

# Seconds that a thread keeps the interpreter while another waits for it. The writer lets go of it at every statement,
# and must get it back from the busy event loop: at the default of 5 ms, a batch of ten statements could wait 50 ms for it.
SWITCH_INTERVAL = 0.0005


def prepare() -> None:
    """To be called before grpc is imported: only then does it read its environment."""
    # grpc's own lines are no JSON, and tell what our messages tell, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.setswitchinterval(SWITCH_INTERVAL)
