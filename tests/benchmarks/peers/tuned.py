"""Runs another module as the main program, with the server's settings of the interpreter and of grpc.

Arguments: the module's name, then the module's own arguments.
"""

import runpy
import sys

from mentorsync import runtime


def main() -> None:
    runtime.prepare()  # must come before grpc is imported
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
