"""The code agrees with the protobuf contract."""

from unittest.mock import Mock

from mentorstatus.v1 import mentor_status_sync_pb2 as pb
from mentorsync.domain.status import EventType, MentorStatus
from mentorsync.rpc.methods import Kind, methods_of

KINDS = {(False, False): Kind.UNARY, (False, True): Kind.SERVER_STREAMING}


def test_event_types_have_the_contracts_numbers() -> None:
    """The domain stores the numbers of the protobuf enum. Its names are the contract's without "MentorEvent"."""
    contract = {name.removesuffix("MentorEvent").upper(): number for name, number in pb.EventType.items()[1:]}
    assert contract == {event_type.name: event_type.value for event_type in EventType}


def test_statuses_have_the_contracts_numbers() -> None:
    """The domain stores the numbers of the protobuf enum. Its names are the contract's in upper case."""
    contract = {name.upper(): number for name, number in pb.MentorStatus.items()[1:]}
    assert contract == {status.name: status.value for status in MentorStatus}


def test_the_table_of_methods_has_the_contracts_methods() -> None:
    """Each method has the name, the kind and the request type that the service's descriptor declares."""
    declared = {
        method.name: (KINDS[method.client_streaming, method.server_streaming], method.input_type)
        for method in pb.DESCRIPTOR.services_by_name["MentorStatusSync"].methods
    }
    table = methods_of(Mock())
    assert declared == {name: (method.kind, method.request_type.DESCRIPTOR) for name, method in table.items()}


def test_fields_are_declared_in_the_contracts_key_order() -> None:
    """JSON prints fields in the order in which they are declared, and the contract's examples have this order."""
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
