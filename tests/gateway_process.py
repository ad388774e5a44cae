"""`mentorsync gateway` as a process."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import command, environment


@contextmanager
def running_gateway(upstream: str, log: Path, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Runs it on free ports, with its standard error in `log`. At the end it must stop without a failure."""
    addresses = dict.fromkeys(("rest_address", "gateway_admin_address"), "127.0.0.1:0")
    arguments, variables = command("gateway", f"--upstream={upstream}"), environment({**addresses, **(settings or {})})
    with (
        log.open("wb") as stderr,
        subprocess.Popen(arguments, env=variables, stdout=subprocess.DEVNULL, stderr=stderr) as gateway,
    ):
        try:
            yield
        finally:
            gateway.terminate()
    assert gateway.returncode == 0
