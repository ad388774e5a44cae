"""What operators deploy names only series and settings that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from mentorsync import config
from mentorsync.config import Setting

from tests.server_process import Database
from tests.up_process import EmbeddedServer

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus-rules.yaml"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
SERIES = re.compile(r"\b(?:mentorsync|process)_[a-z_]+\b")
VARIABLE = re.compile(r"\bMENTORSYNC_[A-Z_]+\b")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """The names of the series that a service exports after a call."""
    directory = tmp_path_factory.mktemp("deploy")
    database = Database(directory / "mentorsync.db")
    database.migrate()
    server = EmbeddedServer(database, directory / "up.log")
    try:
        text = urlopen(f"http://{server.metrics}/metrics").read().decode()
        yield {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    finally:
        server.kill()


def expressions(path: Path) -> list[str]:
    """The PromQL expressions of the rules or of the dashboard."""
    if path == RULES:
        groups = yaml.safe_load(RULES.read_text())["groups"]
        return [rule["expr"] for group in groups for rule in group["rules"]]
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: str(path.name))
def test_every_series_exists(exported: set[str], path: Path) -> None:
    """A renamed metric would leave an alert silent and a panel empty."""
    used = [set(SERIES.findall(expression)) for expression in expressions(path)]
    assert all(names or "up{" in expression for names, expression in zip(used, expressions(path), strict=True))
    assert set().union(*used) <= exported


@pytest.mark.parametrize("name", ["Containerfile", "compose.yaml", "kubernetes.yaml"])
def test_every_setting_exists(name: str) -> None:
    variables = {setting.variable for setting in vars(config).values() if isinstance(setting, Setting)}
    used = set(VARIABLE.findall((DEPLOY / name).read_text()))
    assert used
    assert used <= variables
