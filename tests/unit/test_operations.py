"""How repetitions of a submit are recognised."""

from itertools import combinations

import pytest
from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType

SUBMIT = SubmitOperation("mntr_1", EventType.PAUSE, "a break", 1_000_000_000, None)


def test_a_repetition_has_the_same_digest_and_key() -> None:
    """Both depend only on the content of the submit."""
    again = SubmitOperation("mntr_1", EventType.PAUSE, "a break", 1_000_000_000, None)
    assert again.payload_digest == SUBMIT.payload_digest
    assert again.request_key == SUBMIT.request_key


@pytest.mark.parametrize("key", [None, "k"])
def test_different_submits_have_different_request_keys(key: str | None) -> None:
    """Submits differ if mentor and key differ, or mentor and payload if there is no key."""
    submits = [
        SubmitOperation(mentor_id, event_type, reason, client_timestamp, key)
        for mentor_id in ("mntr_1", "mntr_11")
        for event_type in (EventType.PAUSE, EventType.RESUME)
        for reason in ("", "1", "1\n")
        for client_timestamp in (0, 1, 11)
    ]
    for one, other in combinations(submits, 2):
        payloads = [(submit.event_type, submit.reason, submit.client_timestamp) for submit in (one, other)]
        assert (one.payload_digest == other.payload_digest) == (payloads[0] == payloads[1])
        if key is None:
            assert one.request_key != other.request_key
        else:
            assert (one.request_key == other.request_key) == (one.mentor_id == other.mentor_id)


def test_a_key_is_never_confused_with_a_payload() -> None:
    """A key may equal the digest of another submit."""
    keyed = SubmitOperation("mntr_1", EventType.PAUSE, "", None, SUBMIT.payload_digest)
    assert keyed.request_key != SUBMIT.request_key


def test_a_submit_with_neither_key_nor_time_cannot_be_recognised() -> None:
    """It has no request key, but still a digest."""
    submit = SubmitOperation("mntr_1", EventType.PAUSE, "", None, None)
    assert submit.request_key is None
    assert len(submit.payload_digest) == 32


def test_the_text_of_a_reason_cannot_be_read_from_what_is_stored() -> None:
    """Neither digest nor request key holds the reason's text."""
    submit = SubmitOperation("mntr_1", EventType.PAUSE, "secret", 0, None)
    assert "secret" not in f"{submit.payload_digest}{submit.request_key}"
