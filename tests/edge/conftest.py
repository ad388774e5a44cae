"""Runs `mentorsync up` with all security settings in both layouts, and mirrors behind Envoy."""

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from mentorsync.supervisor.envoy import Envoy
from mentorsync_gateway import security
from mentorsync_gateway.config import Config, separate
from mentorsync_gateway.embedded import embedded, embedded_environment
from mentorsync_gateway.security.values import SecuritySettings

from tests.edge.certificates import Authority, Pair
from tests.edge.mirror import reflection
from tests.edge.tokens import Issuer, jwt_settings
from tests.rest.conftest import FREE_PORT, Run, StubServer, running_gateway, running_stub
from tests.rest.conftest import run as run  # noqa: PLC0414 - the fixture, for the tests of this folder too
from tests.server_process import Database
from tests.up_process import UpProcess

ORIGIN = "https://app.example"
RATE_LIMIT = 12  # requests a second: more than a test makes, except the tests of the limit
BURST = 100  # over the limit on any machine that can make 14 requests a second, one after the other
LAYOUTS = ("embedded", "separate")
CALLERS = count(1)


class Secured(NamedTuple):
    """A running service with all security settings. Each test has its own client address, from a trusted proxy."""

    up: UpProcess
    authority: Authority
    issuer: Issuer
    jwks: Path
    server: Pair
    client: Pair

    @property
    def grpc_address(self) -> str:
        """Where gRPC is served with the security settings."""
        return self.up.announced.get("balanced", self.up.announced["gRPC"]).split()[0]

    def rest(self) -> httpx.Client:
        return httpx.Client(base_url=self.up.url, verify=trust(self.authority), headers=own_address(), timeout=20)

    def channel(self, client: Pair | None = None) -> grpc.Channel:
        """A channel with this certificate of the caller, or with none."""
        own = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.ca.read_bytes(), *own)
        return grpc.secure_channel(self.grpc_address, credentials, (("grpc.use_local_subchannel_pool", 1),))


def call(channel: Any, method: str, headers: Mapping[str, str]) -> bytes:
    """Calls a method with an empty message, and returns the answer's bytes."""
    answer: bytes = channel.unary_unary(method)(b"", metadata=tuple(headers.items()), timeout=20)
    return answer


def own_address() -> dict[str, str]:
    """An address that no other test has, so that tests do not use up each other's limit."""
    number = next(CALLERS)
    return {"x-forwarded-for": f"10.0.{number // 250}.{number % 250 + 1}"}


def trust(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session", params=LAYOUTS)
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The service with all security settings. Tests that change its files leave working ones."""
    folder = tmp_path_factory.mktemp(f"secured-{request.param}")
    authority, issuer, jwks = Authority(folder), Issuer(), folder / "keys.json"
    issuer.publish(jwks)
    server, client = authority.issue("server", "127.0.0.1", "localhost"), authority.issue("client")
    with running_up(folder, request.param, **lock_settings(authority, server, jwks)) as up:
        yield Secured(up, authority, issuer, jwks, server, client)


def lock_settings(authority: Authority, server: Pair, jwks: Path) -> dict[str, str]:
    return (
        server.settings
        | jwt_settings(jwks)
        | {
            "grpc_client_ca": str(authority.ca),
            "rate_limit": str(RATE_LIMIT),
            "trusted_proxies": "1",
            "cors_origins": f"{ORIGIN},https://other.example",
            "health_address": "127.0.0.1:0",
        }
    )


@contextmanager
def running_up(folder: Path, layout: str, *flags: str, **settings: Any) -> Iterator[UpProcess]:
    """`mentorsync up` on an empty SQLite database, with these settings."""
    if layout == "separate":
        flags = ("--separate", *flags)
        settings["gateway_grpc_address"] = "127.0.0.1:0"
    up = UpProcess(Database(folder / "mentorsync.db"), folder / "up.log", flags, **settings)
    try:
        assert up.announced, (folder / "up.log").read_text()
        yield up
    finally:
        up.kill()


class Mirror(NamedTuple):
    """A gateway in front of a service that answers each call with the headers about the caller that it got."""

    gateway: Envoy

    def message(self, path: str, headers: Mapping[str, str]) -> str:
        """The message of the error that answers GET."""
        host, port = self.gateway.addresses["rest"]
        message: str = httpx.get(f"http://{host}:{port}{path}", headers=headers, timeout=20).json()["message"]
        return message

    def over_rest(self, path: str, headers: Mapping[str, str]) -> list[list[str]]:
        return parsed(self.message(path, headers))

    def over_grpc(self, method: str, headers: Mapping[str, str]) -> list[list[str]]:
        host, port = self.gateway.addresses.get("service_grpc") or self.gateway.addresses["grpc"]
        with grpc.insecure_channel(f"{host}:{port}") as channel:
            try:
                call(channel, method, headers)
            except grpc.RpcError as error:
                return parsed(error.details() or "")
        raise AssertionError("a mirror answers with an error")


def parsed(message: str) -> list[list[str]]:
    headers: list[list[str]] = json.loads(message)
    return headers


StartMirror = Callable[[str, SecuritySettings], Mirror]


@pytest.fixture(scope="module")
def start_mirror(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartMirror]:
    with ExitStack() as stack:

        def start(layout: str, values: SecuritySettings) -> Mirror:
            folder = tmp_path_factory.mktemp("mirror")
            stub = stack.enter_context(running_stub())
            stub.answer = answer_with_headers
            config = mirror_config(layout, stub)
            security.apply(config, values, folder)
            environment = embedded_environment() if layout == "embedded" else {}
            return Mirror(stack.enter_context(running_gateway(run, config, environment)))

        yield start


def mirror_config(layout: str, stub: StubServer) -> Config:
    if layout == "separate":
        return separate(FREE_PORT, FREE_PORT, [stub.address], FREE_PORT)
    return embedded("tests.edge.mirror_application:app", FREE_PORT, FREE_PORT, FREE_PORT, "/nowhere/health.sock")


def answer_with_headers(context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, reflection(context.invocation_metadata()))  # raises
    return b""
