"""TLS and tokens, against a bare server with certificates of the test."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest
from mentorstatus_client import MentorStatusSyncClient, UnavailableError

from tests.client.conftest import OpenClient, target
from tests.client.test_errors import ONE_ATTEMPT
from tests.edge.certificates import Authority
from tests.rest.conftest import StubServer, running_stub

TOKEN = "a.b.c"  # noqa: S105 - of the test


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=[False, True], ids=["tls", "mutual-tls"])
def needs_certificate(request: pytest.FixtureRequest) -> bool:
    """Whether the server demands a certificate from its clients."""
    return bool(request.param)


@pytest.fixture
def secure_stub(authority: Authority, needs_certificate: bool) -> Iterator[StubServer]:
    pair = authority.issue("server", "127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.certificate.read_bytes())], authority.ca.read_bytes(), needs_certificate
    )
    with running_stub("127.0.0.1", 0, credentials) as server:
        yield server


@pytest.fixture
def credentials(authority: Authority, needs_certificate: bool) -> grpc.ChannelCredentials:
    """What a client needs for the server."""
    pair = authority.issue("client")
    own = (pair.key.read_bytes(), pair.certificate.read_bytes()) if needs_certificate else (None, None)
    return grpc.ssl_channel_credentials(authority.ca.read_bytes(), *own)


async def test_a_client_calls_over_tls(
    open_client: OpenClient, secure_stub: StubServer, credentials: grpc.ChannelCredentials
) -> None:
    """With a token, and with a certificate of its own where the server demands one."""
    client = open_client(target(secure_stub), credentials=credentials, token=TOKEN)
    await client.list_sync_events()
    assert [call["authorization"] for call in secure_stub.metadata] == [f"Bearer {TOKEN}"]


async def test_a_server_of_another_authority_is_not_trusted(
    open_client: OpenClient, secure_stub: StubServer, tmp_path: Path
) -> None:
    """Nothing is sent to it."""
    credentials = grpc.ssl_channel_credentials(Authority(tmp_path, "other").ca.read_bytes())
    client = open_client(target(secure_stub), credentials=credentials, token=TOKEN, options=ONE_ATTEMPT)
    with pytest.raises(UnavailableError):
        await client.list_sync_events()
    assert secure_stub.metadata == []


async def test_a_token_may_change_from_call_to_call(open_client: OpenClient, stub: StubServer) -> None:
    """A function is asked for it before each call. On loopback a token needs no TLS."""
    numbers = count()
    client = open_client(target(stub), token=lambda: f"token-{next(numbers)}")
    for _ in range(2):
        await client.list_sync_events()
    assert [call["authorization"] for call in stub.metadata] == ["Bearer token-0", "Bearer token-1"]


LOCAL = [
    "127.0.0.1:50051",
    "127.1.2.3:1",
    "localhost:50051",
    "[::1]:50051",
    "dns:///localhost:1",
    "unix:/run/sync.sock",
]
REMOTE = ["sync.example:50051", "10.0.0.1:50051", "localhost.example:1", "ipv4:127.0.0.1:1,10.0.0.1:1", "0.0.0.0:50051"]


@pytest.mark.parametrize("address", REMOTE)
def test_a_token_is_not_sent_over_a_network_in_plain_text(address: str) -> None:
    """Unless the caller says that another layer encrypts the connection."""
    with pytest.raises(ValueError, match="would be sent in plain text"):
        MentorStatusSyncClient(address, token=TOKEN)
    MentorStatusSyncClient(address, token=TOKEN, plaintext_token=True).close()
    MentorStatusSyncClient(address).close()


@pytest.mark.parametrize("address", LOCAL)
def test_a_token_stays_on_the_machine_in_plain_text(address: str) -> None:
    """Loopback and Unix sockets are not a network."""
    MentorStatusSyncClient(address, token=TOKEN).close()
