"""What a subscriber asks for."""

from typing import NamedTuple

from mentorsync.feed.cursor import Cursor


class FeedRequest(NamedTuple):
    """No mentor_ids: all mentors. No cursor: from the present on. seconds: how long the stream may live at most."""

    mentor_ids: frozenset[str]
    cursor: Cursor | None
    changes_only: bool
    seconds: float
