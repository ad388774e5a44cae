"""Finds the cause of Envoy's end in its last output."""

import re
import signal

from mentorsync_gateway.errors import GatewayError, HostModuleError

APPLICATION_FAILURE = re.compile(r"Application startup failed: (.*)")  # pyvoy's text, then the application's
PYTHON_FAILURES = (
    "Failed to initialize ASGI app",
    "Exception in ASGI lifespan",
)  # pyvoy's texts; a traceback follows in the same message
CRASH = re.compile(r"assert failure|FATAL|panic|Too many open files|Out of memory|Cannot allocate memory")


def failure(status: int, messages: list[str]) -> GatewayError:
    """The error for an Envoy that ended with a status while it started, from its last messages."""
    if refusal := _refusal(messages):
        return GatewayError(refusal)
    if exception := python_exception(messages):
        return GatewayError(f"the service cannot start: {exception}")
    if status < 0:
        return GatewayError(f"Envoy was ended by {signal.Signals(-status).name}: {_crash(messages)}")
    cause = messages[-1] if messages else "it logged nothing"
    if "Failed to load dynamic module" in cause:
        return HostModuleError(f"Envoy cannot host Python here: {cause}")
    return GatewayError(f"Envoy ended with status {status}: {cause}")


def _refusal(messages: list[str]) -> str | None:
    """The application's own words for why it does not start."""
    found = (APPLICATION_FAILURE.search(message) for message in messages)
    return next((refusal[1] for refusal in found if refusal), None)


def python_exception(messages: list[str]) -> str | None:
    """The exception that kept the application from its start: the last line of the first traceback.

    None if the application itself refused to start: pyvoy makes an exception of that, too.
    """
    if _refusal(messages):
        return None
    failures = (message for message in messages if message.startswith(PYTHON_FAILURES))
    return next((message.splitlines()[-1] for message in failures), None)


def _crash(messages: list[str]) -> str:
    """The line with the cause: it comes before the backtrace."""
    telling = (message for message in messages if CRASH.search(message))
    return next(telling, messages[0] if messages else "it logged nothing")
