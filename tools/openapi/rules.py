"""What the descriptors cannot say: the limits of values, and the headers. Tests compare them with the server's."""

from typing import Any

Schema = dict[str, Any]

EVENT_ID = "^evt_[0-9A-Za-z]{1,40}$"
MENTOR_ID = "^mntr_[0-9A-Za-z]{1,40}$"
REASON = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"  # no control characters except tab and line feed
WHOLE_SECONDS = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"

# Added to the schema of a field, by its name.
REQUEST_RULES: dict[str, Schema] = {
    "sync_event_id": {"pattern": EVENT_ID},
    "mentor_id": {"pattern": MENTOR_ID},
    "reason": {"maxLength": 500, "pattern": REASON},
    "page": {"minimum": 1, "default": 1},
    "limit": {"minimum": 1, "default": 20},
}
RESPONSE_RULES: dict[str, Schema] = {
    "sync_event_id": {"pattern": "^evt_[0-9A-Z]{8}$"},
    "mentor_id": {"pattern": MENTOR_ID},
    "reason": {"maxLength": 500, "pattern": REASON},
    "page": {"minimum": 1},
    "limit": {"minimum": 1, "maximum": 100},
    "total": {"minimum": 0},
}
# Added to the schema of a message. Of its fields, at least one must be there.
MESSAGE_RULES: dict[str, Schema] = {"UpdateEventRequest": {"minProperties": 1}}

# Request headers by name. A method reads those that its comment names.
CALL_HEADERS: dict[str, Schema] = {
    "idempotency-key": {
        "description": (
            "Makes the call safe to repeat: one key for each tap of a user, 1-64 visible ASCII characters. A repeated "
            "call with the same key gets the first answer again."
        ),
        "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
    },
    "last-event-id": {
        "description": "The cursor after which the stream continues. Browsers send it when they reconnect.",
        "schema": {"type": "string"},
    },
}
REQUEST_ID: Schema = {
    "description": (
        "Identifies the request in the service's log. A caller's own id is kept: up to 128 visible ASCII characters."
    ),
    "schema": {"type": "string"},  # an empty one counts as none
}
RESPONSE_HEADERS: dict[str, Schema] = {
    "x-request-id": {"required": True} | REQUEST_ID,
    "Retry-After": {
        "description": "The number of seconds to wait before the call is repeated.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "Asks for a bearer token.",
        "required": True,
        "schema": {"type": "string"},
    },
}


def headers(*names: str) -> dict[str, Schema]:
    """References to response headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
