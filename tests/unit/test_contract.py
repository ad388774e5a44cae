"""The vocabulary that contract and domain share."""

from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.status import EventType, MentorStatus


def test_event_types_have_the_contracts_numbers() -> None:
    """The domain stores the protobuf enum's numbers; its names are the contract's without "MentorEvent"."""
    contract = {name.removesuffix("MentorEvent").upper(): number for name, number in pb.EventType.items()[1:]}
    assert contract == {event_type.name: event_type.value for event_type in EventType}


def test_statuses_have_the_contracts_numbers() -> None:
    """The domain stores the protobuf enum's numbers; its names are the contract's in upper case."""
    contract = {name.upper(): number for name, number in pb.MentorStatus.items()[1:]}
    assert contract == {status.name: status.value for status in MentorStatus}


def test_fields_are_declared_in_the_contracts_key_order() -> None:
    """JSON prints fields in the order of their declaration, which is that of the contract's examples."""
    keys = {
        "SyncEvent": "sync_event_id mentor_id event_type resulting_status server_timestamp acknowledged",
        "Pagination": "page limit total",
        "ListSyncEventsResponse": "data pagination",
        "GetMentorStatusResponse": "mentor_id status is_eligible_for_assignment last_updated pending_events",
        "SubmitEventRequest": "event_type mentor_id reason client_timestamp",
        "SubmitEventResponse": (
            "sync_event_id mentor_id event_type accepted resulting_status server_timestamp created_at"
        ),
        "UpdateEventResponse": "sync_event_id acknowledged reason updated_at",
        "DeleteEventResponse": "sync_event_id deleted deleted_at",
    }
    for message, names in keys.items():
        assert [field.name for field in pb.DESCRIPTOR.message_types_by_name[message].fields] == names.split()
