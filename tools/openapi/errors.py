"""The answers that are not 2xx: the service's reasons, and the errors of the gateway itself."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from google.rpc import code_pb2

from tools.openapi.contract import PACKAGE, Contract
from tools.openapi.error_schemas import TYPE_PREFIX
from tools.openapi.rules import Schema, headers

REASONS = f".{PACKAGE}.ErrorReason"
STATUS = re.compile(r"\b([A-Z_]+); HTTP ([0-9]{3})\.")  # ends the first paragraph of a reason's comment
# Any method may fail with these. With other codes, a method fails for the reasons that its comment names.
COMMON_CODES = ("UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNAVAILABLE")

TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
# Name of the response, code, meaning.
GATEWAY_ERRORS = {
    400: (
        "Unreadable",
        "INVALID_ARGUMENT",
        "The request cannot be read: it is not JSON, or a name, type or parameter is wrong.",
    ),
    401: ("TokenRequired", "UNAUTHENTICATED", "No valid token came, where the service requires one."),
    408: ("RequestTimeout", "DEADLINE_EXCEEDED", "The request did not arrive in time."),
    413: ("BodyTooLarge", "RESOURCE_EXHAUSTED", "The body has more than 16 KiB."),
    429: (
        "TooManyRequests",
        "RESOURCE_EXHAUSTED",
        "Too many requests came from this address, where the service limits them.",
    ),
    431: ("HeadersTooLarge", "RESOURCE_EXHAUSTED", "The headers are too large."),
    500: ("GatewayFailure", "INTERNAL", "An unexpected error in the gateway."),
    503: ("Unavailable", "UNAVAILABLE", "No server is ready."),
    504: ("Timeout", "DEADLINE_EXCEEDED", "The answer did not come in time. A write may have taken effect."),
}
HEADERS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
# Further details of an example, by the message that the comment of its reason names.
EXAMPLE_DETAILS: dict[str, Schema] = {
    "BadRequest": {
        "field_violations": [{"field": "reason", "description": "must have at most 500 characters", "reason": ""}]
    },
    "RetryInfo": {"retry_delay": "1s"},
}


class Reason(NamedTuple):
    """A cause of the service's own errors."""

    name: str
    code: str
    status: int
    meaning: str


def reasons(contract: Contract) -> list[Reason]:
    """All reasons, with the code and status that their comments state."""
    found = []
    for value in contract[REASONS].value[1:]:
        comment = contract.comment(f"{REASONS}.{value.name}")
        stated = STATUS.search(comment)
        if stated is None:
            raise ValueError(f"{value.name}: the comment must state the code and status, as in 'NOT_FOUND; HTTP 404.'")
        meaning = " ".join(f"{comment[: stated.start()]} {comment[stated.end() :]}".split())
        found.append(Reason(value.name, stated[1], int(stated[2]), meaning))
    return found


def reasons_of(method_comment: str, all_reasons: Iterable[Reason]) -> list[Reason]:
    words = set(re.findall(r"\w+", method_comment))
    return [one for one in all_reasons if one.code in COMMON_CODES or one.name in words]


def error_responses(given: Iterable[Reason], *, is_stream: bool) -> dict[str, Schema]:
    """The responses of one method by status. The gateway limits every request's body, except that of a stream."""
    by_status: dict[int, list[Reason]] = {
        status: [] for status in GATEWAY_ERRORS if not (is_stream and status == TOO_LARGE)
    }
    for reason in given:
        by_status.setdefault(reason.status, []).append(reason)
    return {
        str(status): _response(status, by_status[status]) if by_status[status] else _reference(status)
        for status in sorted(by_status)
    }


def gateway_responses() -> dict[str, Schema]:
    """The responses that only the gateway makes, by name, for all methods."""
    return {name: _response(status, []) for status, (name, _, _) in GATEWAY_ERRORS.items()}


def _reference(status: int) -> Schema:
    return {"$ref": f"#/components/responses/{GATEWAY_ERRORS[status][0]}"}


def _response(status: int, given: list[Reason]) -> Schema:
    _, own_code, own_meaning = GATEWAY_ERRORS.get(status, ("", "", ""))
    code = code_pb2.Code.Value(given[0].code if given else own_code)
    lines = [f"- `{reason.name}`: {reason.meaning}" for reason in given]
    lines += [f"- From the gateway, without a reason: {own_meaning}"] if own_meaning else []
    info = {"properties": {"reason": {"enum": [reason.name for reason in given]}}}
    narrowed: Schema = {"code": {"const": code}, "details": {"items": info} if given else {"maxItems": 0}}
    content: Schema = {"schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": narrowed}]}}
    if given:
        content["examples"] = {reason.name: {"value": _example(reason, code)} for reason in given}
    return {
        "description": "\n".join(lines) if given else own_meaning,
        "headers": headers("x-request-id", *HEADERS.get(status, [])),
        "content": {"application/json": content},
    }


def _example(reason: Reason, code: int) -> Schema:
    info: Schema = {"@type": f"{TYPE_PREFIX}ErrorInfo", "reason": reason.name, "domain": "mentorstatus", "metadata": {}}
    further = [
        {"@type": f"{TYPE_PREFIX}{name}"} | one for name, one in EXAMPLE_DETAILS.items() if name in reason.meaning
    ]
    message = reason.meaning.partition(". ")[0].removesuffix(".")
    return {"code": code, "message": message, "details": [info, *further]}
