"""The command line. Each command imports its own dependencies, so that `--help` and the supervisor stay light."""
# ruff: noqa: PLC0415 - as the line above says

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mentorsync import __version__
from mentorsync.arguments import add_age, add_layout, add_plan, add_upstream
from mentorsync.config import (
    DATABASE_URL,
    GATEWAY_ADMIN_ADDRESS,
    GATEWAY_GRPC_ADDRESS,
    GRPC_ADDRESS,
    HEALTH_ADDRESS,
    LOG_FORMAT,
    LOG_LEVEL,
    METRICS_ADDRESS,
    PAGES,
    REST_ADDRESS,
    SECURITY_SETTINGS,
    SERVER_SECURITY_SETTINGS,
    STOP_DESCRIPTOR_VARIABLE,
    STREAMS_PER_ADDRESS,
    TOKEN,
    TOKEN_FILE,
    UPSTREAM_SECURITY_SETTINGS,
    URL,
    Setting,
    SettingsError,
    add_flags,
    misspelt,
    resolve,
)
from mentorsync.exposed_addresses import check_server_is_hidden
from mentorsync.extras import check_extras
from mentorsync.kinds import parse_address
from mentorsync.security_files import check_security
from mentorsync.system_limits import MIN_ENVOY_ADDRESS_SPACE, MIN_SERVER_ADDRESS_SPACE, check_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mentorsync.storage.engine import Engine
    from mentorsync.supervisor.output import Output

EXIT_FAILED = 1  # the command failed after it had started
EXIT_REFUSED = 2  # the command could not start, and has printed why in one line
EXIT_INTERRUPTED = 130  # as in shells: 128 plus the number of SIGINT


def serve(settings: argparse.Namespace) -> int:
    from mentorsync import runtime
    from mentorsync.supervisor.addresses import check_addresses

    check_limits(MIN_SERVER_ADDRESS_SPACE)
    check_security(settings)
    check_server_is_hidden(settings)
    check_addresses(settings)
    runtime.prepare()
    runtime.leave_out_psycopg_on_sqlite(settings.database_url)
    import uvloop

    from mentorsync import app, log_text, logs
    from mentorsync.parts import PartEndedError

    render = log_text.choose(settings.log_format, logs.STANDARD_ERROR)
    writer = logs.set_up(settings.log_level, logs.STANDARD_ERROR, render)
    try:
        with refusals():
            uvloop.run(app.serve(settings, writer))
    except PartEndedError:  # the log has the cause
        return EXIT_FAILED
    finally:
        writer.close()
    return 0


def up(settings: argparse.Namespace) -> int:
    from mentorsync import runtime
    from mentorsync.supervisor import commands
    from mentorsync.supervisor.addresses import check_addresses

    runtime.prepare()
    if settings.replicas > 1 and settings.database_url.startswith("sqlite:"):
        raise SettingsError(
            f"--replicas {settings.replicas} needs PostgreSQL ({DATABASE_URL.variable}): SQLite serves one process"
        )
    if settings.gateway_grpc_address and not settings.separate:
        raise SettingsError(
            f"{GATEWAY_GRPC_ADDRESS.variable} ({GATEWAY_GRPC_ADDRESS.flag}) has no use in the one-process mode, where "
            f"Envoy itself serves gRPC, at {GRPC_ADDRESS.variable}: unset it, or use --separate"
        )
    check_security(settings)
    check_addresses(settings)
    return supervise(commands.up, settings)


def gateway(settings: argparse.Namespace) -> int:
    from mentorsync import runtime
    from mentorsync.supervisor import commands

    runtime.prepare()
    check_security(settings)
    settings.upstream = settings.upstream or [parse_address(GRPC_ADDRESS.default)]
    return supervise(commands.gateway, settings)


def supervise(
    run: "Callable[[argparse.Namespace, Output], Coroutine[None, None, int]]", settings: argparse.Namespace
) -> int:
    """Runs a command of the supervisor. Writing its output never blocks it, not even when it ends."""
    from mentorsync import log_text, logs
    from mentorsync.supervisor.output import Output

    check_limits(MIN_ENVOY_ADDRESS_SPACE)
    output = Output(log_text.choose(settings.log_format, logs.STANDARD_ERROR))
    try:
        return asyncio.run(run(settings, output))
    finally:
        output.close()


def migrate(settings: argparse.Namespace) -> int:
    from mentorsync.storage.migrator import migrate as apply_missing

    with opened_engine(settings) as engine:
        if created := engine.create():  # a mistyped path must not go unnoticed
            say(f"{engine}: created {created}")
        applied = apply_missing(engine)
        say(f"{engine}: applied {', '.join(applied)}" if applied else f"{engine}: the schema is up to date")
    return 0


def purge(settings: argparse.Namespace) -> int:
    from mentorsync.storage.errors import PurgeStoppedError
    from mentorsync.storage.migrator import check_current
    from mentorsync.storage.purge import purge as remove_unneeded

    with opened_engine(settings) as engine:
        check_current(engine)
        try:
            removed = remove_unneeded(engine, settings.older_than, show_progress)
        except PurgeStoppedError as error:
            end_progress()
            print(f"mentorsync: {engine}: {error}", file=sys.stderr)
            return EXIT_FAILED
        end_progress()
        say(f"{engine}: removed {removed} events")
    return 0


def new_epoch(settings: argparse.Namespace) -> int:
    from mentorsync.storage.epoch import renew_epoch
    from mentorsync.storage.migrator import check_current

    with opened_engine(settings) as engine:
        check_current(engine)
        epoch = renew_epoch(engine)
        say(f"{engine}: the epoch is now {epoch.after} and was {epoch.before}: cursors from before are not continued")
    return 0


def simulate(settings: argparse.Namespace) -> int:
    from mentorsync.simulate import command

    token = settings.token
    if settings.token_file:
        try:
            token = Path(settings.token_file).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{TOKEN_FILE.flag}: {error.strerror}: {settings.token_file}") from error
    return asyncio.run(command.simulate(settings, token))


@contextmanager
def refusals() -> Iterator[None]:
    """Turns the failures of storage that prevent a start into the one error that `main` prints."""
    from mentorsync.storage.errors import StorageError

    try:
        yield
    except StorageError as error:
        raise SettingsError(str(error)) from error


@contextmanager
def opened_engine(settings: argparse.Namespace) -> "Iterator[Engine]":
    from mentorsync.storage.engine import open_engine

    with refusals():
        engine = open_engine(settings.database_url)
        try:
            yield engine
        finally:
            engine.close()


def show_progress(reached: int, last: int, removed: int) -> None:
    """Rewrites one line on a terminal. Prints nothing elsewhere: there the last line is enough."""
    if sys.stderr.isatty():
        text = f"\rread the log up to {reached} of {last}, removed {removed} events"
        print(text, end="", file=sys.stderr, flush=True)


def end_progress() -> None:
    """Ends the line that `show_progress` rewrites."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def say(text: str) -> None:
    print(text, flush=True)


ADDRESSES = (REST_ADDRESS, HEALTH_ADDRESS, GATEWAY_GRPC_ADDRESS, GATEWAY_ADMIN_ADDRESS)
LOG_SETTINGS = (LOG_LEVEL, LOG_FORMAT)
GATEWAY_SETTINGS = (*ADDRESSES, PAGES, *SECURITY_SETTINGS, *UPSTREAM_SECURITY_SETTINGS, *LOG_SETTINGS)
SERVICE_SETTINGS = (DATABASE_URL, GRPC_ADDRESS, METRICS_ADDRESS, STREAMS_PER_ADDRESS)
UP_SETTINGS = (*SERVICE_SETTINGS, *ADDRESSES, PAGES, *SECURITY_SETTINGS, *LOG_SETTINGS)
SERVE_SETTINGS = (*SERVICE_SETTINGS, *SERVER_SECURITY_SETTINGS, *LOG_SETTINGS)
CALLER_SETTINGS = (URL, TOKEN, TOKEN_FILE)
ALL_SETTINGS = (*UP_SETTINGS, *UPSTREAM_SECURITY_SETTINGS, *CALLER_SETTINGS)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mentorsync",
        description="Keeps phones and internal services in agreement on each mentor's status.",
        epilog="Every setting is also an environment variable; the --help of a command names them.",
    )
    parser.add_argument("--version", action="version", version=f"mentorsync {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(function: object, settings: tuple[Setting, ...], meaning: str) -> argparse.ArgumentParser:
        name = function.__name__.replace("_", "-")  # type: ignore[attr-defined]
        command = commands.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
        add_flags(command, settings)
        command.set_defaults(function=function, settings=settings)
        return command

    add_layout(add(up, UP_SETTINGS, "migrate, then run the service and its gateway until Ctrl-C"))
    add(serve, SERVE_SETTINGS, "run the gRPC server")
    add_upstream(add(gateway, GATEWAY_SETTINGS, "run the REST gateway in front of gRPC servers"))
    add(migrate, (DATABASE_URL,), "upgrade the database to the schema of this version")
    add_age(add(purge, (DATABASE_URL,), "remove old events that are deleted, acknowledged or were never accepted"))
    add(new_epoch, (DATABASE_URL,), "make all cursors of the live feed invalid, after a restore of the database")
    add_plan(add(simulate, CALLER_SETTINGS, "run simulated phones against a service, and check that no event is lost"))
    return parser


def warn_of_misspelt_variables() -> None:
    for given, meant in misspelt(ALL_SETTINGS).items():
        print(f"mentorsync: {given} is not a setting and has no effect. Did you mean {meant}?", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = build_parser().parse_args(arguments)
    if STOP_DESCRIPTOR_VARIABLE not in os.environ:  # the supervisor has said it
        warn_of_misspelt_variables()
    try:
        check_extras(parsed.function.__name__)
        values = resolve(parsed, parsed.settings)
        return int(parsed.function(argparse.Namespace(**vars(parsed) | vars(values))))
    except SettingsError as error:
        print(f"mentorsync: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
