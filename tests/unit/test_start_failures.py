"""What is reported about a part that cannot be started."""

from mentorsync.supervisor.restart import REPORT_SECONDS, StartFailures


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_cause_is_reported_at_once_and_then_rarely() -> None:
    """With the number of attempts. Another cause is reported at once, too."""
    clock = Clock()
    said: list[str] = []
    failures = StartFailures("the server", said.append, clock)
    for _ in range(3):
        failures.report("no database")
    assert said == ["no database"]
    clock.seconds = REPORT_SECONDS
    for _ in range(2):
        failures.report("no database")
    assert said[1:] == ["the server cannot be started, after 4 attempts: no database"]
    failures.report("no memory")
    failures.report("no memory")
    assert said[2:] == ["no memory"]
    clock.seconds = 2 * REPORT_SECONDS
    failures.report("no memory")
    assert said[3:] == ["the server cannot be started, after 8 attempts: no memory"]
