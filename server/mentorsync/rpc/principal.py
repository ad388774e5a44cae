"""On whose behalf a call is made, and which mentors it reaches.

Envoy checks the tokens. It passes what a token says in headers that it removes from every caller's request.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from mentorsync.rpc.validation import MENTOR_ID

ISSUER_HEADER = "x-mentorsync-issuer"  # present whenever a token was checked
MENTOR_ID_HEADER = "x-mentorsync-mentor-id"  # the claim mentor_id
SCOPE_HEADER = "x-mentorsync-scope"  # the token's scopes, separated by spaces
ADMINISTRATOR_SCOPE = "mentorsync.admin"


class Group(Enum):
    ANYONE = "anyone"  # came without a token, and reaches every mentor where no token is required
    ADMINISTRATOR = "administrator"  # reaches every mentor
    NOBODY = "nobody"  # has a token that neither names a mentor nor is an administrator's: reaches nothing


class OneMentor(NamedTuple):
    """Reaches this mentor alone."""

    mentor_id: str


Principal = Group | OneMentor


class TokenRequiredError(Exception):
    """The service requires a token, and the call came without one."""


class NotYourMentorError(Exception):
    """The call is about a mentor that its token does not reach."""


def principal_of(issuer: str | None, mentor_id: str | None, scope: str | None) -> Principal:
    """The principal of a call with these values of the three headers. None: the header is absent."""
    if issuer is None:
        return Group.ANYONE
    if scope is not None and ADMINISTRATOR_SCOPE in scope.split(" "):
        return Group.ADMINISTRATOR
    if mentor_id is not None and MENTOR_ID.fullmatch(mentor_id):
        return OneMentor(mentor_id)
    return Group.NOBODY


def only_mentor(principal: Principal) -> str | None:
    """The one mentor that a principal reaches, or None if it reaches all.

    Raises NotYourMentorError if it reaches none.
    """
    if isinstance(principal, OneMentor):
        return principal.mentor_id
    if principal is Group.NOBODY:
        raise NotYourMentorError
    return None


def confined(principal: Principal, mentor_ids: Sequence[str]) -> Sequence[str]:
    """The mentors that a call is about if it requests these. No mentors means all that the principal reaches.

    The result is empty only if the call is about every mentor. Raises NotYourMentorError if the principal does not
    reach all that are requested.
    """
    only = only_mentor(principal)
    if only is None:
        return mentor_ids
    if any(mentor_id != only for mentor_id in mentor_ids):
        raise NotYourMentorError
    return (only,)
