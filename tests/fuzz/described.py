"""Calls REST as its OpenAPI description allows, and as it forbids: schemathesis, with all its checks."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "generated" / "openapi.yaml"
CONFIGURATION = ROOT / "tests" / "fuzz" / "schemathesis.toml"


def run_schemathesis(url: str, directory: Path, *, seed: int, examples: int, phases: str) -> str:
    """Returns what it reports. Raises AssertionError with the report if a check fails. `directory` gets its files.

    examples: the most requests for each call and kind of data. One thread draws them: with more, CPython 3.11 sometimes
    fails with "AST constructor recursion depth mismatch".
    """
    program = (str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION))
    flags = {"url": url, "checks": "all", "phases": phases, "max-examples": examples, "seed": seed}
    finished = subprocess.run(
        [*program, "run", str(DESCRIPTION), "--no-color", *(f"--{name}={value}" for name, value in flags.items())],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
