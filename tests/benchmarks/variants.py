"""The variants that are compared, with a function that starts each."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mentorsync.storage.engine import open_engine
from mentorsync.storage.migrator import migrate

from tests.benchmarks import cells
from tests.benchmarks.cells import Cell
from tests.benchmarks.databases import EventTable, Templates
from tests.benchmarks.disk import run_fdatasync, run_group_commit
from tests.benchmarks.peers.orm_models import open_database
from tests.benchmarks.processes import Program, python_module
from tests.benchmarks.subjects import Disk, Server, StorageWriters, Subject
from tests.edge.certificates import Authority
from tests.edge.tokens import Issuer, jwt_settings
from tests.postgres_server import PostgresServer

FREE_ADDRESSES = {f"MENTORSYNC_{name}_ADDRESS": "127.0.0.1:0" for name in ("GRPC", "REST", "METRICS", "GATEWAY_ADMIN")}
# Patterns of the addresses that the programs print.
UP_REST = r"REST +https?://(\S+)"
UP_GRPC = r"gRPC +(\S+)"
SERVE_GRPC = r'"grpc": "(\S+)"'
GATEWAY_REST = r'"rest": "(\S+)"'
UVICORN = r"running on http://(\S+)"
FELL_BACK = "as separate processes instead"  # `up` prints it when Envoy cannot host Python
MENTORSYNC = "mentorsync"
PEERS = "tests.benchmarks.peers"
TUNED = (f"{PEERS}.tuned",)  # runs a peer that uses grpc or the engine with the server's own settings


class RoundResources(NamedTuple):
    """The resources of one round's variants.

    directory: empty at first. postgres_pid: PostgreSQL's main process. stack: stops the programs at the end.
    """

    directory: Path
    templates: Templates
    postgres: PostgresServer
    postgres_pid: int
    stack: ExitStack

    def program(self, *arguments: str, url: str = "", **settings: str) -> Program:
        settings |= {"database_url": url} if url else {}
        environment = FREE_ADDRESSES | {f"MENTORSYNC_{name.upper()}": value for name, value in settings.items()}
        program = Program(python_module(*arguments), environment)
        self.stack.callback(program.stop)
        return program

    def database(self, table: str) -> EventTable:
        """Copies a template for one variant."""
        number = len(list(self.directory.glob("*.db")))
        return self.templates.copy(table, self.directory / f"{number}.db")


# Starts a variant and returns a function that waits until it is ready. So all variants can start at the same time.
Start = Callable[[RoundResources], Callable[[], Subject]]


class Variant(NamedTuple):
    name: str
    cells: tuple[Cell, ...]
    start: Start


def up(*arguments: str) -> Start:
    """Runs `mentorsync up` and measures it over REST."""

    def start(resources: RoundResources) -> Callable[[], Server]:
        events = resources.database("events")
        program = resources.program(MENTORSYNC, "up", *arguments, url=events.url)

        def wait() -> Server:
            address = program.wait_for(UP_REST)
            assert FELL_BACK not in program.output, program.output
            return Server(address, [program], events)

        return wait

    return start


def start_up_with_locks(resources: RoundResources) -> Callable[[], Server]:
    """Runs `mentorsync up` with TLS and JWT, and measures it over REST."""
    events = resources.database("events")
    folder = resources.directory / "security"
    folder.mkdir()
    issuer, keys = Issuer(), folder / "keys.json"
    issuer.publish(keys)
    pair = Authority(folder).issue("server", "127.0.0.1")
    program = resources.program(MENTORSYNC, "up", url=events.url, **pair.settings, **jwt_settings(keys))
    token = issuer.administrator()
    return lambda: Server(program.wait_for(UP_REST), [program], events, token=token)


def start_up_for_grpc(resources: RoundResources) -> Callable[[], Server]:
    """Runs `mentorsync up` and measures it over gRPC."""
    events = resources.database("events")
    program = resources.program(MENTORSYNC, "up", url=events.url)
    return lambda: Server(program.wait_for(UP_GRPC), [program], events)


def uvicorn(module: str, table: str, *launcher: str) -> Start:
    """Runs a FastAPI peer in uvicorn. Its access log is on, as by default, because the service has one too."""

    def start(resources: RoundResources) -> Callable[[], Server]:
        events = resources.database(table)
        application = f"{PEERS}.{module}:create_app"
        arguments = ("--factory", application, "--port=0", "--loop=uvloop", "--http=httptools")
        program = resources.program(*launcher, "uvicorn", *arguments, url=events.url)
        return lambda: Server(program.wait_for(UVICORN), [program], events)

    return start


def start_embedded_echo(resources: RoundResources) -> Callable[[], Server]:
    program = resources.program(*TUNED, f"{PEERS}.echo_gateway")
    return lambda: Server(program.wait_for(UP_REST), [program])


def start_grpc_echo(resources: RoundResources) -> Callable[[], Server]:
    program = resources.program(*TUNED, f"{PEERS}.echo_grpc")
    return lambda: Server(program.wait_for(UP_GRPC), [program])


def start_echo_behind_envoy(resources: RoundResources) -> Callable[[], Server]:
    echo = resources.program(*TUNED, f"{PEERS}.echo_grpc")
    gateway = resources.program(MENTORSYNC, "gateway", "--upstream", echo.wait_for(UP_GRPC))
    return lambda: Server(gateway.wait_for(GATEWAY_REST), [gateway, echo])


def start_serve(resources: RoundResources) -> Callable[[], Server]:
    events = resources.database("events")
    program = resources.program(MENTORSYNC, "serve", url=events.url)
    return lambda: Server(program.wait_for(SERVE_GRPC), [program], events)


def start_serve_on_postgres(resources: RoundResources) -> Callable[[], Server]:
    events = EventTable(_new_postgres_database(resources, "engine"), "events")
    engine = open_engine(events.url)
    migrate(engine)
    engine.close()
    program = resources.program(MENTORSYNC, "serve", url=events.url)
    return lambda: Server(program.wait_for(SERVE_GRPC), [program], events, [resources.postgres_pid])


def start_orm_on_postgres(resources: RoundResources) -> Callable[[], Server]:
    events = EventTable(_new_postgres_database(resources, "orm"), "event")
    open_database(events.url).close()
    program = resources.program(*TUNED, f"{PEERS}.grpc_orm", url=events.url)
    return lambda: Server(program.wait_for(UP_GRPC), [program], events, [resources.postgres_pid])


def storage_writers(kind: str, table: str) -> Start:
    def start(resources: RoundResources) -> Callable[[], StorageWriters]:
        url = f"sqlite:///{resources.directory / kind}"
        return lambda: StorageWriters(kind, EventTable(url, table))

    return start


def start_group_commit(resources: RoundResources) -> Callable[[], Disk]:
    return lambda: Disk(run_group_commit, resources.directory / "group-commit")


def start_fdatasync(resources: RoundResources) -> Callable[[], Disk]:
    return lambda: Disk(run_fdatasync, resources.directory / "fdatasync")


def _new_postgres_database(resources: RoundResources, name: str) -> str:
    resources.postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    resources.postgres.execute(f"CREATE DATABASE {name}")
    return resources.postgres.url(name)


ECHO_CELLS = (cells.REST_SNAPSHOT_64, cells.REST_SUBMIT_1, cells.REST_SUBMIT_64)
ALL_REST_CELLS = (*cells.PAGE_CELLS, *cells.REST_CELLS)
EMBEDDED = Variant("embedded", ALL_REST_CELLS, up())
EMBEDDED_LOCKED = Variant("embedded, TLS and JWT", (cells.REST_SNAPSHOT_64, cells.REST_SUBMIT_64), start_up_with_locks)
EMBEDDED_AGAIN = Variant("embedded, again", cells.REST_CELLS, up())
SEPARATE = Variant("separate", cells.REST_CELLS, up("--separate"))
FASTAPI_ORM = Variant("FastAPI + Peewee ORM", cells.REST_CELLS, uvicorn("rest_orm", "event"))
FASTAPI_ENGINE = Variant("FastAPI + our engine", ALL_REST_CELLS, uvicorn("rest_engine", "events", *TUNED))
EMBEDDED_ECHO = Variant("echo inside Envoy", ECHO_CELLS, start_embedded_echo)
ECHO_BEHIND_ENVOY = Variant("grpc.aio echo behind Envoy", ECHO_CELLS, start_echo_behind_envoy)
EMBEDDED_GRPC = Variant("embedded", cells.GRPC_CELLS, start_up_for_grpc)
GRPC_SERVER = Variant("grpcio server", cells.GRPC_CELLS, start_serve)
GRPC_ECHO = Variant("grpc.aio echo", cells.GRPC_CELLS, start_grpc_echo)
POSTGRES = Variant("grpcio server", cells.POSTGRES_CELLS, start_serve_on_postgres)
POSTGRES_ORM = Variant("Peewee ORM behind gRPC", cells.POSTGRES_CELLS, start_orm_on_postgres)
ENGINE = Variant("engine", (cells.STORAGE_SUBMIT_64,), storage_writers("engine", "events"))
ORM = Variant("Peewee ORM", (cells.STORAGE_SUBMIT_64,), storage_writers("orm", "event"))
GROUP_COMMIT = Variant("sqlite3 alone, batches of 64", (cells.STORAGE_SUBMIT_64,), start_group_commit)
FDATASYNC = Variant("4 KiB, one after the other", (cells.DISK_SYNC,), start_fdatasync)
VARIANTS = (
    *(
        EMBEDDED,
        EMBEDDED_LOCKED,
        SEPARATE,
        FASTAPI_ORM,
        EMBEDDED_AGAIN,
        FASTAPI_ENGINE,
        EMBEDDED_ECHO,
        ECHO_BEHIND_ENVOY,
    ),
    *(EMBEDDED_GRPC, GRPC_SERVER, GRPC_ECHO, POSTGRES, POSTGRES_ORM, ENGINE, ORM, GROUP_COMMIT, FDATASYNC),
)


class StartedVariant(NamedTuple):
    variant: Variant
    subject: Subject


@contextmanager
def running_variants(resources: RoundResources) -> Iterator[tuple[list[StartedVariant], float]]:
    """Starts the first variant alone, then the others. Yields all, and the seconds until the first was ready."""
    with resources.stack:
        before = time.perf_counter()
        first = VARIANTS[0].start(resources)()
        ready_seconds = time.perf_counter() - before
        waits = [variant.start(resources) for variant in VARIANTS[1:]]
        subjects = [first, *(wait() for wait in waits)]
        yield [StartedVariant(*pair) for pair in zip(VARIANTS, subjects, strict=True)], ready_seconds
