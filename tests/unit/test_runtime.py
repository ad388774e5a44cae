"""The settings of the interpreter and the kernel."""

import os
import sys

import pytest
from mentorsync import runtime


def test_a_scheduler_that_is_refused_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some containers refuse it; the other settings are made all the same."""

    def refuse(_process: int, _policy: int, _parameters: os.sched_param) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setenv("GRPC_VERBOSITY", "")
    before = sys.getswitchinterval()
    try:
        runtime.prepare()
        assert sys.getswitchinterval() == pytest.approx(runtime.SWITCH_INTERVAL)
    finally:
        sys.setswitchinterval(before)
