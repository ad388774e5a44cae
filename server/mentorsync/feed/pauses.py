"""How long to wait before the log is read again."""

GROWTH = 1.5


class Pauses:
    """The present pause is `seconds`. It is shortest after changes were found, and grows from read to read."""

    def __init__(self, shortest: float, busy: float, quiet: float) -> None:
        """`busy` is the longest pause while each read finds changes, and `quiet` the longest one of all."""
        self._shortest = shortest
        self._busy = busy
        self._quiet = quiet
        self._was_busy = False
        self.seconds = quiet

    @classmethod
    def of(cls, *, is_shared: bool) -> "Pauses":
        """If other servers write to the log too, only reads find that out. Else they only confirm what is known."""
        return cls(0.01, 0.05, 0.25) if is_shared else cls(1.0, 1.0, 1.0)

    def note(self, *, found: bool) -> None:
        """Takes the result of a read."""
        if found and not self._was_busy:
            self.seconds = self._shortest
        else:
            self.seconds = min(self.seconds * GROWTH, self._busy if found else self._quiet)
        self._was_busy = found
