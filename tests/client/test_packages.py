"""What an import of the client loads."""

import subprocess
import sys

PROGRAM = """
import sys, mentorstatus_client
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""
NEEDED = {"google", "grpc", "mentorstatus", "mentorstatus_client"}
SERVER = {"mentorsync", "mentorsync_gateway", "peewee", "uvloop", "psycopg", "yaml", "envoy", "prometheus_client"}


def test_the_client_loads_nothing_of_the_server() -> None:
    """Neither its packages nor what they depend on."""
    loaded = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) >= NEEDED
    assert not set(loaded) & SERVER
