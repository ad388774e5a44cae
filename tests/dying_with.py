"""Becomes another program, which the kernel kills when the process that started it dies.

Usage: dying_with.py PARENT USER PROGRAM ARGUMENT...; USER is the number of the user to become, or empty.

A program of its own, since the tests have threads, gRPC's among them, and so must not run code between fork and exec.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def dying_with_us(command: list[str], user: int | None = None) -> list[str]:
    """The command that runs `command` so, as a child of this process."""
    return [sys.executable, "-S", str(Path(__file__)), str(os.getpid()), "" if user is None else str(user), *command]


def main(parent: str, user: str, *command: str) -> None:
    if user:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - the program itself, without a shell


if __name__ == "__main__":
    main(*sys.argv[1:])
