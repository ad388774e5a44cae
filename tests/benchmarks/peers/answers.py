"""The answers of the echo servers. They have the same sizes as the service's answers."""

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mentorstatus.v1 import mentor_status_sync_pb2 as pb

DECIDED_AT = Timestamp(seconds=1_774_516_500)
MENTOR_ID = "mntr_00001"
SYNC_EVENT_ID = "evt_XP2KL9RQ"

SUBMITTED = pb.SubmitEventResponse(
    sync_event_id=SYNC_EVENT_ID,
    mentor_id=MENTOR_ID,
    event_type=pb.PauseMentorEvent,
    accepted=True,
    resulting_status=pb.paused,
    server_timestamp=DECIDED_AT,
    created_at=DECIDED_AT,
)
SNAPSHOT = pb.GetMentorStatusResponse(
    mentor_id=MENTOR_ID,
    status=pb.paused,
    is_eligible_for_assignment=False,
    last_updated=DECIDED_AT,
    pending_events=[
        pb.SyncEvent(
            sync_event_id=SYNC_EVENT_ID,
            mentor_id=MENTOR_ID,
            event_type=pb.PauseMentorEvent,
            resulting_status=pb.paused,
            server_timestamp=DECIDED_AT,
        )
    ],
)
_MESSAGES: dict[str, Message] = {"SubmitEvent": SUBMITTED, "GetMentorStatus": SNAPSHOT}
ANSWERS = {name: message.SerializeToString() for name, message in _MESSAGES.items()}
