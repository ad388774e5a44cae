"""How the interpreter and the kernel run the service."""

import os
import sys

import pytest
from mentorsync import runtime


def test_a_scheduler_that_may_not_be_chosen_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers may refuse it; the rest is set all the same."""

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
