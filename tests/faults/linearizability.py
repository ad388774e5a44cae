"""Checks that concurrent calls are linearizable: each takes effect at one moment between its start and its end.

The revisions give the order, so no search is needed. A replay of the calls in that order, through a plain model of the
service, must give every answer.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.storage.model import Event, Model, Refusal, Submit

Answer = Mapping[str, Any] | Refusal


class ViolationError(Exception):
    """No order of the calls explains their answers."""


@dataclass(eq=False)
class Call:
    """A call as its caller saw it. `answer` is None if the caller got none: the call may have taken effect or not.

    `of` is the id of the event or mentor that the call reads or changes. `reason` identifies a change; only a repeated
    submit has that of another one.
    """

    kind: str
    of: str
    start: float
    end: float = math.inf
    submit: Submit | None = None
    acknowledged: bool | None = None
    reason: str | None = None
    answer: Answer | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.of} {self.reason or self.submit or ''} -> {self.answer}"


@dataclass(frozen=True)
class Revision:
    """One change of the log, with the event after the change."""

    number: int
    event: Mapping[str, Any]

    @property
    def kind(self) -> str:
        if self.event["deleted_at"] is not None:
            return "delete"
        return "submit" if self.event["sequence"] == self.number else "update"

    def is_of(self, call: Call) -> bool:
        if call.kind != self.kind:
            return False
        if self.kind == "submit":
            assert call.submit
            return bool(call.submit.reason == self.event["reason"])
        return bool(
            call.of == self.event["sync_event_id"] and (self.kind == "delete" or call.reason == self.event["reason"])
        )


def check(calls: Sequence[Call], revisions: Sequence[Revision]) -> None:
    """Raises ViolationError when the calls are not linearizable in the order of their revisions."""
    numbers = [revision.number for revision in revisions]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ViolationError(f"revisions are missing or come twice: {numbers}")
    _Replay(calls).run(revisions)


class _Replay:
    """Places each change at its own revision, and each other call as early as its answer is right."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._unplaced = sorted(calls, key=lambda call: call.start)
        self._model = Model()

    def run(self, revisions: Sequence[Revision]) -> None:
        for revision in revisions:
            self._place_what_changes_nothing()
            self._place_change(revision)
        self._place_what_changes_nothing()
        for call in self._unplaced:
            if call.answer is not None:
                raise ViolationError(f"no moment explains: {call}")

    def _place_change(self, revision: Revision) -> None:
        change = next((call for call in self._unplaced if revision.is_of(call)), None)
        if change is None:
            raise ViolationError(f"no call explains {revision}")
        if self._first_end() < change.start:
            raise ViolationError(f"a call that ended earlier is still unexplained at: {change}")
        self._model.clock = revision.event["updated_at"]
        answer = self._answer(change)
        if change.kind == "submit":
            self._model.history[-1].sync_event_id = revision.event["sync_event_id"]
            answer = self._model.history[-1].answer()
        if change.answer not in (None, answer):
            raise ViolationError(f"{change}, but at its revision the answer is {answer}")
        self._unplaced.remove(change)

    def _place_what_changes_nothing(self) -> None:
        was_placed = True
        while was_placed:
            first_end = self._first_end()
            placeable = [call for call in self._unplaced if call.start <= first_end and call.answer is not None]
            placed = [call for call in placeable if self._unchanging_answer(call) == call.answer]
            for call in placed:
                self._unplaced.remove(call)
            was_placed = bool(placed)

    def _first_end(self) -> float:
        """When the first unplaced call ended: a call that started later must come after that call."""
        return min((call.end for call in self._unplaced if call.answer is not None), default=math.inf)

    def _unchanging_answer(self, call: Call) -> Answer | None:
        """The model's answer now, or None if the call would change something: a change needs a revision."""
        history = self._model.history
        length, before = len(history), [_state(event) for event in history if event.sync_event_id == call.of]
        answer = self._answer(call)
        if len(history) > length:
            history.pop()
            return None
        for event, (acknowledged, reason, updated, deleted) in zip(
            (event for event in history if event.sync_event_id == call.of), before, strict=True
        ):
            if _state(event) != (acknowledged, reason, updated, deleted):
                event.acknowledged, event.reason, event.updated, event.deleted = acknowledged, reason, updated, deleted
                return None
        return answer

    def _answer(self, call: Call) -> Answer:
        answers: dict[str, Callable[[], Any]] = {
            "submit": lambda: self._model.submit(call.submit),  # type: ignore[arg-type]  # a submit has one
            "update": lambda: self._model.update(call.of, call.acknowledged, call.reason),
            "delete": lambda: self._model.delete(call.of),
            "snapshot": lambda: self._model.snapshot(call.of),
            "page": lambda: self._model.page(1, 100, call.of),
        }
        answer: Answer | Event = answers[call.kind]()
        return answer.answer() if isinstance(answer, Event) else answer


def _state(event: Event) -> tuple[bool, str, int, int | None]:
    return event.acknowledged, event.reason, event.updated, event.deleted
