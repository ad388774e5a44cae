"""Where the service under test is."""

import grpc

from tests.grpc_client import OWN_CONNECTION


class Addresses:
    """Where the service is: it may come back at other addresses."""

    def __init__(self) -> None:
        self.rest = ""
        self.grpc = ""


def channel_to(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=OWN_CONNECTION)
