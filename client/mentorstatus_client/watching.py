"""The state of a watch between the streams that it consists of. Both clients use it."""

import random
from collections.abc import Iterator, Sequence

from mentorstatus.v1 import mentor_status_sync_pb2 as pb

from mentorstatus_client import messages
from mentorstatus_client.calls import Call
from mentorstatus_client.errors import MentorStatusSyncError
from mentorstatus_client.values import FeedKind, FeedMessage

AFTER_GOING_AWAY = (1.0, 10.0)  # seconds, chosen at random: the receivers of a server that stops spread out
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0


class Watch:
    """Continues after each stream where it ended, so that nothing is missed and nothing is repeated."""

    def __init__(self, mentor_ids: Sequence[str], cursor: str | None, changes_only: bool) -> None:
        self._mentor_ids = mentor_ids
        self._cursor = cursor
        self._changes_only = changes_only
        self._has_received = False
        self._pause = FIRST_PAUSE_SECONDS
        self._is_sent_away = False

    def next_call(self) -> Call[FeedMessage]:
        request = pb.WatchSyncEventsRequest(
            mentor_id=self._mentor_ids, cursor=self._cursor, changes_only=self._changes_only
        )
        return Call("WatchSyncEvents", request, messages.feed_message)

    def start(self) -> Iterator[FeedMessage]:
        """What the receiver gets before the messages of the next stream.

        Without a cursor the present state is sent from its beginning again. The receiver must drop what it had of it.
        """
        self._is_sent_away = False
        if self._has_received and self._cursor is None:
            yield FeedMessage(FeedKind.RESET)

    def take(self, message: FeedMessage) -> Iterator[FeedMessage]:
        """What the receiver gets of a message.

        A RESET drops the cursor: another server may still know it, and would send only the changes after it.
        """
        self._has_received = True
        self._pause = FIRST_PAUSE_SECONDS
        self._cursor = None if message.kind is FeedKind.RESET else message.cursor or self._cursor
        if message.kind is FeedKind.GOING_AWAY:
            self._is_sent_away = True
        elif message.kind is not FeedKind.UNKNOWN:
            yield message

    def check(self, error: MentorStatusSyncError) -> None:
        """Raises the error that ended a stream, unless another stream may work."""
        if not (self._has_received and error.is_retryable):
            raise error
        if error.retry_delay is not None:
            self._pause = max(self._pause, error.retry_delay.total_seconds())

    def next_pause(self) -> float:
        """Seconds to wait before the next stream. They double with each stream that brings nothing."""
        if self._is_sent_away:
            return random.uniform(*AFTER_GOING_AWAY)  # noqa: S311 - no secret
        pause, self._pause = self._pause, min(2 * self._pause, MAX_PAUSE_SECONDS)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
