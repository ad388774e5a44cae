"""Looks up known vulnerabilities of all pinned packages: `make audit`.

Exits with 1 if there are any, and with 2 if packages could not be looked up.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / ".venv-audit" / "bin" / "pip-audit"
FLAGS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
VULNERABLE, NOT_LOOKED_UP = 1, 2


def main() -> None:
    status = 0
    for lock in sorted(ROOT.glob("requirements*.lock")):
        found, line = audit(lock)
        sys.stdout.write(f"{lock.name}: {line}\n")
        status = max(status, found)
    sys.exit(status)


def audit(lock: Path) -> tuple[int, str]:
    """The exit status and the line for one lock file."""
    command = [str(PROGRAM), *FLAGS, "--requirement", str(lock)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a program of ours
    try:
        packages: list[dict[str, Any]] = json.loads(finished.stdout)["dependencies"]
    except ValueError:
        cause = finished.stderr.strip().rpartition("\n")[2]
        return NOT_LOOKED_UP, f"NOT AUDITED: the data about vulnerabilities cannot be reached: {cause}"
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> tuple[int, str]:
    missing = [package["name"] for package in packages if "skip_reason" in package]
    ids = [f"{package['name']} {found['id']}" for package in packages for found in package.get("vulns", ())]
    if missing:
        known = f", and vulnerabilities: {', '.join(ids)}" if ids else ""
        return NOT_LOOKED_UP, f"NOT AUDITED: no data about {len(missing)} of {len(packages)} packages{known}"
    if ids:
        return VULNERABLE, f"vulnerabilities: {', '.join(ids)}"
    return 0, f"no known vulnerability in {len(packages)} packages"


if __name__ == "__main__":
    main()
