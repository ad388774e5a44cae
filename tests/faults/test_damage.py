"""The check of a database finds lost and doubled writes."""

import pytest

from tests.faults.damage import Damage, check_database, find_damage
from tests.faults.load import Answered, Load
from tests.server_process import Database

INSERT = """INSERT INTO events VALUES
({number}, {number}, 'evt_{number}', 'mntr_1', 1, NULL, 1, 1, 0, '{reason}', 0, 0, NULL, NULL, '')"""


async def no_submit(mentor_id: str, reason: str, key: str | None) -> str:
    raise NotImplementedError


@pytest.fixture
def load() -> Load:
    """A load whose submits `one` and `two` were answered."""
    load = Load(no_submit, "")
    load.answered = [Answered("one", "evt_1"), Answered("two", "evt_2")]
    return load


@pytest.mark.parametrize(
    ("reasons", "damage"),
    [
        (["one", "two"], Damage(0, 0)),
        (["one", "two", "unanswered"], Damage(0, 0)),
        (["one"], Damage(1, 0)),
        (["two", "one"], Damage(2, 0)),  # stored with other ids than were answered
        (["one", "two", "one", "two", "two"], Damage(0, 3)),
    ],
)
def test_damage_is_counted(database: Database, load: Load, reasons: list[str], damage: Damage) -> None:
    for number, reason in enumerate(reasons, start=1):
        database.execute(INSERT.format(number=number, reason=reason))
    assert find_damage(database.url, load) == damage
    if damage != Damage(0, 0):
        with pytest.raises(AssertionError):
            check_database(database.url, load)
