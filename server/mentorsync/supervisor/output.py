"""The output of the supervisor and of its parts: one writer for each descriptor."""

import secrets
from argparse import Namespace
from collections.abc import Mapping, Sequence

from mentorsync.dropped_lines import DroppedLines
from mentorsync.kinds import Address
from mentorsync.log_text import Render
from mentorsync.logs import STANDARD_ERROR, STANDARD_OUTPUT
from mentorsync.storage.urls import without_credentials
from mentorsync.supervisor.failure_limit import FailureLimit
from mentorsync.supervisor.log_writer import LogWriter
from mentorsync.supervisor.part import Address as PartAddress
from mentorsync.time_limits import FLUSH_SECONDS

NORMAL_STOP = b'"event":"caught ENVOY_SIGTERM"'  # Envoy warns of the signal with which the supervisor ends it


class Output:
    """Standard output and standard error. Nothing blocks. Lines that do not fit into the buffer count as dropped.

    `probe_id` is the request id of the supervisor's own probes. Log lines about them are left out.
    """

    def __init__(self, render: Render | None = None) -> None:
        """`render` turns log lines into text for people; see `log_text`."""
        self.dropped_lines = DroppedLines.create()
        self.probe_id = secrets.token_hex(16)  # secret, so that no caller can hide a request
        self._left_out = (self.probe_id.encode(), NORMAL_STOP)
        self._failure_limit = FailureLimit()
        self._output = LogWriter(STANDARD_OUTPUT, self.dropped_lines)
        self._errors = LogWriter(STANDARD_ERROR, self.dropped_lines, render)
        self.write_output = self._output.write

    def write_log(self, lines: bytes) -> None:
        """Takes log lines of a part, each with its line feed."""
        if any(text in lines for text in self._left_out):
            lines = b"".join(line for line in lines.splitlines(keepends=True) if not self._is_left_out(line))
        if lines:
            self._errors.write(self._failure_limit.limit(lines))

    def _is_left_out(self, line: bytes) -> bool:
        return any(text in line for text in self._left_out)

    def say(self, message: str) -> None:
        """Reports something on standard error, in the command's name."""
        self._errors.write(f"mentorsync: {message}\n".encode())

    def print(self, text: str) -> None:
        """Prints lines on standard output."""
        self._output.write(f"{text}\n".encode())

    def close(self) -> None:
        """Writes the waiting lines, for a bounded time."""
        self._errors.write(self._failure_limit.report())
        for writer in (self._output, self._errors):
            writer.close(FLUSH_SECONDS / 2)


def describe_addresses(
    settings: Namespace,
    gateway: Mapping[str, PartAddress],
    servers: Sequence[Mapping[str, PartAddress]],
    list_path: str,
) -> str:
    """The text that `up` prints once the service is ready."""
    rest = f"{'https' if settings.tls_certificate else 'http'}://{Address(*gateway['rest'])}"
    admins = [server["admin"] for server in servers if "admin" in server] or [gateway["admin"]]  # a replica has its own
    balanced = (
        f"\nbalanced  {Address(*gateway['grpc'])} (gRPC through the gateway, over all servers)"
        if "grpc" in gateway
        else ""
    )
    pages = f"\ndocs      {rest}/docs\nconsole   {rest}/console" if settings.pages else ""
    health = f"\nhealth    http://{Address(*gateway['health'])}/healthz" if "health" in gateway else ""
    token = ' -H "authorization: Bearer $TOKEN"' if settings.jwt_issuer else ""
    return f"""\
REST      {rest}{pages}{health}
gRPC      {", ".join(dict.fromkeys(str(Address(*server["grpc"])) for server in servers))}{balanced}
metrics   {", ".join(f"http://{Address(*server['metrics'])}/metrics" for server in servers)}
admin     {", ".join(f"http://{Address(*admin)}" for admin in admins)}
database  {without_credentials(settings.database_url)}

Try it:   curl -s -X POST -H 'content-type: application/json'{token} \\
            -d '{{"event_type": "PauseMentorEvent", "mentor_id": "mntr_01HX4V2K8P"}}' \\
            {rest}{list_path}/events
Ctrl-C stops everything."""
