"""Keeps schemathesis from requests that are refused for reasons that an OpenAPI description cannot state."""

import re
from itertools import count
from typing import Any

import schemathesis

KEY = "idempotency-key"
VALID_KEY = re.compile("[!-~]{1,64}")
NUMBERS = count()
OPTIONAL_FIELDS = ("reason", "client_timestamp", "acknowledged")


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Unknown fields are ignored, but Envoy refuses a field without a name, at any depth."""
    return not has_nameless_field(case.body) and not is_taken_all_the_same(case.body)


def is_taken_all_the_same(body: Any) -> bool:
    """Against the description, the gateway takes null for an absent field, and {} for the first second of 1970."""
    if not isinstance(body, dict):
        return False
    return body.get("client_timestamp") == {} or any(name in body and body[name] is None for name in OPTIONAL_FIELDS)


def has_nameless_field(value: Any) -> bool:
    if isinstance(value, dict):
        return "" in value or any(map(has_nameless_field, value.values()))
    return isinstance(value, list) and any(map(has_nameless_field, value))


@schemathesis.hook
def before_call(_context: Any, case: Any, _arguments: Any) -> None:
    """Gives each submit a key of its own: a key with another payload than before is refused."""
    if VALID_KEY.fullmatch((case.headers or {}).get(KEY, "")):
        case.headers[KEY] = f"schemathesis-{next(NUMBERS)}"
