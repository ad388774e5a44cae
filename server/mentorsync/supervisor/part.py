"""The interface of the processes that the supervisor runs: Envoy and the servers."""

import signal
from collections.abc import Mapping
from typing import Protocol

Address = tuple[str, int]


class PartError(Exception):
    """A part could not start, or it ended. `status` becomes the exit status.

    An empty message means that the part's own output already has the cause.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def cause_of_end(status: int) -> str:
    """Completes "ended …": by the name of the signal that a negative status stands for, or with the status."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


class Part(Protocol):
    """A process of the service. It dies with the supervisor, even if that is killed."""

    name: str  # for messages: "the gateway"

    @property
    def addresses(self) -> Mapping[str, Address]:
        """The addresses that it listens on, by name. Known once it has started."""

    async def start(self) -> None:
        """Starts the process and returns once it serves. May be called again when it has ended.

        Raises PartError or GatewayError with the cause; the process has then ended.
        """

    async def wait(self) -> int:
        """Waits for the end. Returns the exit status, negative for a signal."""

    def announce_stop(self) -> None:
        """Lets the process end its streams, before it or a part in front of it is drained. May be called again."""

    async def drain(self, deadline: float) -> None:
        """Finishes the calls in flight and ends, by a time of the event loop's clock.

        Does nothing when the process has ended. A part that hangs overruns the deadline: the caller kills it.
        """

    async def kill(self) -> None:
        """Ends the process at once, by SIGKILL. Does nothing when it has not started or has ended."""
