"""The text that `up` prints once the service is ready."""

from argparse import Namespace

import pytest
from mentorsync.supervisor.output import describe_addresses

ADDRESSES = {"rest": ("127.0.0.1", 8080), "grpc": ("127.0.0.1", 50051), "metrics": ("127.0.0.1", 9464)}


@pytest.mark.parametrize("issuer", [None, "https://issuer.example.org"])
def test_the_command_to_try_has_a_token_where_calls_need_one(issuer: str | None) -> None:
    """Without the header it would get 401."""
    settings = Namespace(tls_certificate=None, pages=True, database_url="sqlite:///mentorsync.db", jwt_issuer=issuer)
    gateway = {"rest": ADDRESSES["rest"], "admin": ("127.0.0.1", 9901)}
    text = describe_addresses(settings, gateway, [ADDRESSES], "/list")
    assert ('-H "authorization: Bearer $TOKEN"' in text) == (issuer is not None)
