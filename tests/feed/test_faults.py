"""Receivers miss nothing and get nothing twice, whatever happens to connections, servers and databases."""

from pathlib import Path

from tests.feed.figures import Figures
from tests.feed.postgres_sites import postgres_site
from tests.feed.rounds import Run
from tests.feed.sqlite_sites import separate_site, sqlite_site
from tests.postgres_server import server_directory

SEED = 1
SQLITE_ROUNDS, SEPARATE_ROUNDS, POSTGRES_ROUNDS = 15, 12, 12  # about 15 s each on two free cores


async def test_random_faults_on_sqlite(tmp_path: Path) -> None:
    """Lost connections, purges, kill -9, a clock that steps and a restored backup, with traffic that goes on."""
    figures = Figures()
    async with sqlite_site(tmp_path) as site:
        await Run(site, SEED, figures).run(SQLITE_ROUNDS)
    assert not figures.violations, "\n".join(figures.violations[:20])
    assert figures.changes
    assert figures.rounds["step_clock"]


async def test_random_faults_on_separate_processes(tmp_path: Path) -> None:
    """Also kill -9 of the server alone, and of the gateway alone."""
    figures = Figures()
    async with separate_site(tmp_path) as site:
        await Run(site, SEED, figures).run(SEPARATE_ROUNDS)
    assert not figures.violations, "\n".join(figures.violations[:20])
    assert figures.rounds["kill_server"]
    assert figures.rounds["kill_gateway"]


async def test_random_faults_on_two_replicas() -> None:
    """Also a replica that is killed or frozen, and a standby that takes over."""
    figures = Figures()
    with server_directory() as folder:
        async with postgres_site(folder) as site:
            await Run(site, SEED, figures).run(POSTGRES_ROUNDS)
    assert not figures.violations, "\n".join(figures.violations[:20])
    assert figures.rounds["fail_over"]
