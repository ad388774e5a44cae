"""Under each attack, the calls of a well-behaved client succeed, and memory and log stay bounded.

`make soak` runs the same attacks longer and with more connections, and measures how much slower calls become.
"""

from collections.abc import Iterator

import pytest

from tests.attacks.attacker import ATTACKS
from tests.attacks.under_attack import Client, attacked, megabytes
from tests.server_process import Database, wait_until
from tests.up_process import UpProcess

CONNECTIONS = {"idle": 1_000, "slow-headers": 300, "slow-body": 300, "window-0": 100, "churn": 1}
FEW_CONNECTIONS = 20  # of the attacks that take much processing time from the tests too
CALLS = 10  # on the client's own connection, and as many on new ones
MOST_MEGABYTES = 400.0
MOST_LOG_BYTES = 2_000_000  # a rapid reset without the limit causes 5 MB of lines each second


@pytest.fixture(scope="module", params=[(), ("--separate",)], ids=["embedded", "separate"])
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    directory = tmp_path_factory.mktemp("attacks")
    database = Database(directory / "mentorsync.db")
    database.migrate()
    up = UpProcess(database, directory / "up.log", request.param)
    client = Client(up.url)
    try:
        client.fill()
        assert not client.failures
        yield up
    finally:
        client.close()
        up.stop()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_client_is_served_under_attack(up: UpProcess, attack: str) -> None:
    """All its calls are answered, on its own connection and on new ones."""
    client = Client(up.url)
    before = up.log.stat().st_size
    with attacked(up.url, attack, CONNECTIONS.get(attack, FEW_CONNECTIONS)):
        client.call(CALLS)
        memory = megabytes([up.pid])
    client.close()
    assert not client.failures
    assert memory < MOST_MEGABYTES
    assert up.log.stat().st_size - before < MOST_LOG_BYTES


def test_the_log_reports_what_it_left_out(up: UpProcess) -> None:
    """The lines about requests that an attacker resets are limited, and the others counted."""
    with attacked(up.url, "rapid-reset", 1):
        wait_until(lambda: "about refused or aborted requests left out" in up.log.read_text(), "a line with the count")
