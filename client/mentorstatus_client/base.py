"""What the two clients share: everything except the wait for an answer."""

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, ClassVar, TypeAlias, TypedDict
from uuid import uuid4

import grpc
from mentorstatus.v1.mentor_status_sync_pb2_grpc import MentorStatusSyncStub

from mentorstatus_client.calls import Call
from mentorstatus_client.channel import DEFAULT_TARGET, check_metadata, check_plaintext_token, open_channel

Token: TypeAlias = str | Callable[[], str]

DEFAULT_SECONDS = 10.0  # for a call with all its attempts; the service itself answers within 7.5 s


class CallOptions(TypedDict, total=False):
    """The options of every call.

    timeout: seconds for the call with all its attempts. Default: the client's.
    wait_for_ready: waits for a connection until the timeout. By default, five attempts without one are a failure.
    metadata: more metadata, such as `traceparent`. An `x-request-id` here replaces the client's random one.
    """

    timeout: float | None
    wait_for_ready: bool
    metadata: Mapping[str, str]


class Client:
    """A client of the service. Create one, use it for all calls, and close it at the end.

    target: `host:port`, or any name that gRPC resolves, such as `dns:///mentorsync:50051` or `unix:/path`.
    credentials: those of TLS, from `grpc.ssl_channel_credentials()`. None: plain text.
    token: sent with each call as a bearer token. A function is called before each call, and must return quickly.
    plaintext_token: allows a token without TLS over a network. Without it, only loopback and Unix sockets are allowed.
    timeout: seconds for a call with all its attempts, where the call itself sets no timeout.
    options: further options of the gRPC channel. They replace the client's own.

    A call is repeated while the service is unavailable: up to five attempts within its timeout. Every call also takes
    the options in CallOptions. A call that fails raises a MentorStatusSyncError.
    """

    _transport: ClassVar[Any]  # grpc or grpc.aio

    def __init__(  # noqa: PLR0913 - all but the target are keywords
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        plaintext_token: bool = False,
        timeout: float = DEFAULT_SECONDS,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        if token is not None and credentials is None and not plaintext_token:
            check_plaintext_token(target)
        self._timeout = timeout
        self._token = token
        self._channel = open_channel(self._transport, target, credentials, options)
        self._is_closed = Event()  # ends the pause of a watch in another thread
        self._stub: Any = MentorStatusSyncStub(self._channel)

    def _arguments(self, call: Call[Any], options: CallOptions) -> dict[str, Any]:
        """The arguments of gRPC for a call."""
        metadata = {"x-request-id": uuid4().hex, **options.get("metadata", {})}
        if call.idempotency_key is not None:
            metadata["idempotency-key"] = call.idempotency_key
        if self._token is not None:
            metadata["authorization"] = f"Bearer {self._token if isinstance(self._token, str) else self._token()}"
        check_metadata(metadata)
        return {
            "timeout": options.get("timeout", self._timeout),
            "wait_for_ready": options.get("wait_for_ready"),
            "metadata": tuple(metadata.items()),
        }
