"""What runs of faults were made of."""

from collections import Counter
from dataclasses import dataclass, field

from tests.feed.history import History
from tests.feed.receivers import Step


@dataclass
class Figures:
    """rounds: how often each fault came. resumed: cursors that were tried again."""

    rounds: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    connections: int = 0
    cursors: int = 0
    changes: int = 0
    resumed: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        rounds = ", ".join(f"{count} {name}" for name, count in self.rounds.most_common())
        resets = ", ".join(f"{count} {reason}" for reason, count in self.resets.most_common())
        return (
            f"{sum(self.rounds.values())} rounds ({rounds}), {self.writes} writes, {self.connections} connections, "
            f"{self.cursors} cursors, {self.changes} changes, resets: {resets}, {self.resumed} cursors tried again, "
            f"{len(self.violations)} violations"
        )

    def count(self, history: History) -> None:
        steps = [entry for entry in history.entries if isinstance(entry, Step)]
        self.connections += len(history.entries) - len(steps)
        self.cursors += sum(bool(step.cursor) for step in steps)
        self.changes += sum(step.kind == "change" for step in steps)
        self.resets.update(step.data["reason"] for step in steps if step.kind == "reset")
