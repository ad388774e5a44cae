"""What a token reaches."""

import pytest
from mentorsync.rpc.principal import (
    Group,
    NotYourMentorError,
    OneMentor,
    Principal,
    confined,
    only_mentor,
    principal_of,
)

ONE, OTHER = "mntr_1", "mntr_2"
ALL = (Group.ANYONE, Group.ADMINISTRATOR)


@pytest.mark.parametrize(
    ("issuer", "mentor_id", "scope", "principal"),
    [
        (None, None, None, Group.ANYONE),
        ("i", ONE, None, OneMentor(ONE)),
        ("i", ONE, "openid profile", OneMentor(ONE)),
        ("i", None, "mentorsync.admin", Group.ADMINISTRATOR),
        ("i", ONE, "openid mentorsync.admin", Group.ADMINISTRATOR),
        ("", ONE, None, OneMentor(ONE)),
        ("i", None, None, Group.NOBODY),
        ("i", None, "openid", Group.NOBODY),
        ("i", None, "mentorsync.administrator", Group.NOBODY),
        ("i", None, "xmentorsync.admin", Group.NOBODY),
        ("i", None, "MENTORSYNC.ADMIN", Group.NOBODY),
        ("i", None, "mentorsync.admin,openid", Group.NOBODY),
        ("i", None, "mentorsync.admin\topenid", Group.NOBODY),
        ("i", "", None, Group.NOBODY),
        ("i", "1", None, Group.NOBODY),
        ("i", "mntr_", None, Group.NOBODY),
        ("i", "mntr_1,mntr_2", None, Group.NOBODY),
        ("i", "mntr_1\n", None, Group.NOBODY),
        ("i", "mntr_é", None, Group.NOBODY),
        ("i", "WyJtbnRyXzEiXQ==", None, Group.NOBODY),
    ],
)
def test_a_principal_is_what_the_token_says(
    issuer: str | None, mentor_id: str | None, scope: str | None, principal: Principal
) -> None:
    """A claim that is no valid mentor id reaches nothing, and a scope counts as a whole word only."""
    assert principal_of(issuer, mentor_id, scope) == principal


@pytest.mark.parametrize("principal", ALL)
@pytest.mark.parametrize("mentor_ids", [(), (ONE,), (ONE, OTHER)])
def test_some_principals_reach_every_mentor(principal: Principal, mentor_ids: tuple[str, ...]) -> None:
    """What they request is what they get."""
    assert confined(principal, mentor_ids) == mentor_ids
    assert only_mentor(principal) is None


@pytest.mark.parametrize("mentor_ids", [(), (ONE,), (ONE, ONE)])
def test_a_mentors_token_reaches_that_mentor(mentor_ids: tuple[str, ...]) -> None:
    """Also if no mentor is requested."""
    assert confined(OneMentor(ONE), mentor_ids) == (ONE,)
    assert only_mentor(OneMentor(ONE)) == ONE


@pytest.mark.parametrize("mentor_ids", [(OTHER,), (ONE, OTHER), ("",), (ONE.upper(),)])
def test_a_mentors_token_does_not_reach_others(mentor_ids: tuple[str, ...]) -> None:
    """Not even if its own mentor is among them."""
    with pytest.raises(NotYourMentorError):
        confined(OneMentor(ONE), mentor_ids)


@pytest.mark.parametrize("mentor_ids", [(), (ONE,)])
def test_some_tokens_reach_nothing(mentor_ids: tuple[str, ...]) -> None:
    """Such a token is refused for every call."""
    with pytest.raises(NotYourMentorError):
        confined(Group.NOBODY, mentor_ids)
    with pytest.raises(NotYourMentorError):
        only_mentor(Group.NOBODY)
