"""The schemas of errors: google.rpc.Status and its details, as the gateway prints them."""

from tools.openapi.rules import Schema

TYPE_PREFIX = "type.googleapis.com/google.rpc."

ERROR_SCHEMAS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "description": (
            "The body of every answer that is not 2xx. Decide by the HTTP status and the reason of the ErrorInfo, "
            "never by the message. Errors of the gateway itself have no details."
        ),
        "properties": {
            "code": {"type": "integer", "description": "The code of google.rpc.Code."},
            "message": {"type": "string", "minLength": 1, "description": "A text for people. It may change."},
            "details": {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"$ref": f"#/components/schemas/{name}"} for name in ("ErrorInfo", "BadRequest", "RetryInfo")
                    ]
                },
            },
        },
        "required": ["code", "message", "details"],
        "additionalProperties": False,
    },
    "ErrorInfo": {
        "type": "object",
        "description": "The cause of an error, for programs.",
        "properties": {
            "@type": {"type": "string", "const": f"{TYPE_PREFIX}ErrorInfo"},
            "reason": {"type": "string", "description": "The name of the cause. It never changes its meaning."},
            "domain": {"type": "string", "const": "mentorstatus"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["@type", "reason", "domain", "metadata"],
        "additionalProperties": False,
    },
    "BadRequest": {
        "type": "object",
        "description": "Every field that is missing or malformed.",
        "properties": {
            "@type": {"type": "string", "const": f"{TYPE_PREFIX}BadRequest"},
            "field_violations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": {"type": "string"},
                        "description": {"type": "string"},
                        "reason": {"type": "string", "const": ""},
                    },
                    "required": ["field", "description", "reason"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["@type", "field_violations"],
        "additionalProperties": False,
    },
    "RetryInfo": {
        "type": "object",
        "description": "How long to wait before the call is repeated.",
        "properties": {
            "@type": {"type": "string", "const": f"{TYPE_PREFIX}RetryInfo"},
            "retry_delay": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"},
        },
        "required": ["@type", "retry_delay"],
        "additionalProperties": False,
    },
}
