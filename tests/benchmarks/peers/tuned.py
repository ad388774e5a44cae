"""Runs another module as the program, with the interpreter and grpc set as the server sets them.

Arguments: the module's name, and then its own.
"""

import runpy
import sys

from mentorsync import runtime


def main() -> None:
    runtime.prepare()  # before grpc is imported
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
