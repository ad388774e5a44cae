"""`make audit` never takes packages that were not looked up for good ones."""

from typing import Any

import pytest

from tools.audit import judge

GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "1", "vulns": [{"id": "CVE-2026-1"}]}
SKIPPED = {"name": "skipped", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "judgement"),
    [
        ([GOOD, GOOD], (0, "no known vulnerability in 2 packages")),
        ([GOOD, BAD], (1, "vulnerabilities: bad CVE-2026-1")),
        ([GOOD, SKIPPED], (2, "NOT AUDITED: no data about 1 of 2 packages")),
        ([BAD, SKIPPED], (2, "NOT AUDITED: no data about 1 of 2 packages, and vulnerabilities: bad CVE-2026-1")),
    ],
)
def test_packages_are_judged(packages: list[dict[str, Any]], judgement: tuple[int, str]) -> None:
    assert judge(packages) == judgement
