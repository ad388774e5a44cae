"""The arguments of commands that are not settings: they have no environment variable."""

import argparse
import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from mentorsync.config import GRPC_ADDRESS
from mentorsync.kinds import Address, parse_address, parse_count

Parsed = TypeVar("Parsed")

MAX_REPLICAS = 64  # a larger number on one machine is a mistake
MAX_PHONES = 10_000  # more would need a simulator of several processes
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_layout(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--separate", action="store_true", help="run the server and the gateway as two processes, not as one"
    )
    command.add_argument(
        "--replicas",
        type=parse_replicas,
        default=1,
        metavar="N",
        help="number of processes on the same addresses, or with --separate of servers behind the gateway; more than 1 "
        "requires PostgreSQL, and those that end are restarted (default 1)",
    )


def add_upstream(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--upstream",
        action="append",
        type=parse_upstream,
        metavar="HOST:PORT",
        help=f"a gRPC server; may be given several times; a name is resolved to all its addresses "
        f"(default {GRPC_ADDRESS.default})",
    )


def add_age(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--older-than",
        type=parse_age,
        default="30d",
        metavar="AGE",
        help="age of an event's last change, as in 90s, 15m, 12h, 30d (default 30d); "
        "keep it at least as long as a phone may be offline",
    )


def add_plan(command: argparse.ArgumentParser) -> None:
    command.add_argument("--phones", type=parse_phones, default=100, metavar="N", help="number of phones (default 100)")
    command.add_argument(
        "--mentors", type=parse_phones, default=100, metavar="N", help="mentors that the phones share (default 100)"
    )
    command.add_argument(
        "--duration",
        type=parse_age,
        default="60s",
        metavar="TIME",
        help="length of the run, as in 30s, 5m, 1h (default 60s)",
    )
    command.add_argument(
        "--seed", type=int, metavar="N", help="seed that repeats the plan of an earlier run (default random)"
    )


def parse_argument(parse: Callable[[str], Parsed], text: str) -> Parsed:
    """Shows the rule that `parse` names, and the text that does not follow it."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from error


def parse_upstream(text: str) -> Address:
    return parse_argument(parse_address, text)


def parse_replicas(text: str) -> int:
    return parse_argument(partial(parse_count, maximum=MAX_REPLICAS), text)


def parse_phones(text: str) -> int:
    return parse_argument(partial(parse_count, maximum=MAX_PHONES), text)


def parse_age(text: str) -> int:
    """Converts a number that is followed by s, m, h or d to seconds."""
    match = re.fullmatch(r"([0-9]+)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"must be a number followed by s, m, h or d, such as 30d, not {text!r}")
    return int(match[1]) * SECONDS[match[2]]
