"""The command `mentorsync`, with an interpreter whose library Envoy cannot load: Envoy cannot host Python."""

import sys

import find_libpython
from mentorsync.cli import main

if __name__ == "__main__":
    find_libpython.find_libpython = lambda: ""
    sys.exit(main())
