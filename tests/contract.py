"""What tests take from the contract's text."""

BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"  # under which all paths are

# Word for word from the contract. Envoy prints JSON without spaces.
LIST_EXAMPLE = """
{
  "data": [
    {
      "sync_event_id": "evt_XP2KL9RQ",
      "mentor_id": "mntr_01HX4V2K8P",
      "event_type": "PauseMentorEvent",
      "resulting_status": "paused",
      "server_timestamp": "2026-03-26T09:15:00Z",
      "acknowledged": false
    }
  ],
  "pagination": {
    "page": 1,
    "limit": 20,
    "total": 3
  }
}
"""
SNAPSHOT_EXAMPLE = """
{
  "mentor_id": "mntr_01HX4V2K8P",
  "status": "active",
  "is_eligible_for_assignment": true,
  "last_updated": "2026-03-26T09:20:00Z",
  "pending_events": []
}
"""
SUBMIT_EXAMPLE_REQUEST = """
{
  "event_type": "PauseMentorEvent",
  "mentor_id": "mntr_01HX4V2K8P",
  "reason": "Taking a short break",
  "client_timestamp": "2026-03-26T09:14:55Z"
}
"""
SUBMIT_EXAMPLE = """
{
  "sync_event_id": "evt_XP2KL9RQ",
  "mentor_id": "mntr_01HX4V2K8P",
  "event_type": "PauseMentorEvent",
  "accepted": true,
  "resulting_status": "paused",
  "server_timestamp": "2026-03-26T09:15:00Z",
  "created_at": "2026-03-26T09:15:00Z"
}
"""
UPDATE_EXAMPLE_REQUEST = """
{
  "acknowledged": true,
  "reason": "Corrected: extended personal leave"
}
"""
UPDATE_EXAMPLE = """
{
  "sync_event_id": "evt_XP2KL9RQ",
  "acknowledged": true,
  "reason": "Corrected: extended personal leave",
  "updated_at": "2026-03-26T11:00:00Z"
}
"""
DELETE_EXAMPLE = """
{
  "sync_event_id": "evt_XP2KL9RQ",
  "deleted": true,
  "deleted_at": "2026-03-26T11:05:00Z"
}
"""
