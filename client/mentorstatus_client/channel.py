"""How a client connects: the options of its channel, where it may send a token, and what it may send with a call."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

DEFAULT_TARGET = "127.0.0.1:50051"  # where `mentorsync up` serves gRPC
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],  # a name may have several addresses: a retry goes to another one
    "methodConfig": [
        {
            "name": [{"service": "mentorstatus.v1.MentorStatusSync"}],
            # Every call may be repeated, since each submit has a key. The first wait is that of the service's
            # RetryInfo. All waits together are 8 s, so the last attempt is still within the default timeout.
            "retryPolicy": {
                "maxAttempts": 5,  # the most that gRPC allows
                "initialBackoff": "1s",
                "maxBackoff": "4s",
                "backoffMultiplier": 1.5,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # While there is no connection, each attempt fails at once. By default gRPC waits for up to two minutes before it
    # connects again, and the last retry would be over by then.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Ends a connection after 50 s of silence. The ping is sent after 30 s: a live server sends heartbeats before that.
    # Its answer may take 20 s. grpc.keepalive_timeout_ms would not limit that, and the default is a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
)
LOCAL_TARGET = re.compile(r"(unix|unix-abstract):.+|(dns:///|ipv[46]:)?(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?")


def open_channel(
    transport: Any, target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Any:
    """Opens a channel of `grpc` or of `grpc.aio`. In both, the first of two options with the same name would count."""
    options = tuple((dict(CHANNEL_OPTIONS) | dict(options)).items())
    if credentials is None:
        return transport.insecure_channel(target, options=options)
    return transport.secure_channel(target, credentials, options=options)


def check_plaintext_token(target: str) -> None:
    """Refuses to send a token over a network in plain text."""
    if not LOCAL_TARGET.fullmatch(target):
        raise ValueError(
            f"the token for {target} would be sent in plain text: pass credentials=grpc.ssl_channel_credentials(), or "
            f"plaintext_token=True if another layer encrypts the connection"
        )


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuses what metadata cannot hold. grpc would report it as INTERNAL, as if the service had failed."""
    for name, value in metadata.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name} must be printable ASCII, without line feeds")
