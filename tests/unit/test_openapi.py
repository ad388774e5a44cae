"""openapi.yaml is valid, says what the server does, and describes every kind of method."""

import json
import re
from typing import Any

import httpx
import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from mentorstatus.v1 import error_reason_pb2
from mentorsync.rpc import validation
from openapi_spec_validator import validate

from tests import contract
from tests.openapi import PATH, Specification
from tools.openapi import rules
from tools.openapi.contract import Contract
from tools.openapi.document import document


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text("utf-8"))
    return loaded


def test_the_document_is_valid(openapi: dict[str, Any]) -> None:
    """It follows the schema of OpenAPI 3.1, and its references lead somewhere."""
    validate(openapi)


def test_the_examples_are_those_of_the_contract(openapi: dict[str, Any]) -> None:
    """Requests and answers are the contract's, word for word."""
    operations = {one["operationId"]: one for item in openapi["paths"].values() for one in item.values()}
    answers = {
        "ListSyncEvents": contract.LIST_EXAMPLE,
        "GetMentorStatus": contract.SNAPSHOT_EXAMPLE,
        "SubmitEvent": contract.SUBMIT_EXAMPLE,
        "UpdateEvent": contract.UPDATE_EXAMPLE,
        "DeleteEvent": contract.DELETE_EXAMPLE,
    }
    requests = {"SubmitEvent": contract.SUBMIT_EXAMPLE_REQUEST, "UpdateEvent": contract.UPDATE_EXAMPLE_REQUEST}
    for name, example in answers.items():
        assert example_of(operations[name]["responses"]["200"]) == json.loads(example)
    for name, example in requests.items():
        assert example_of(operations[name]["requestBody"]) == json.loads(example)


def example_of(body: dict[str, Any]) -> Any:
    return body["content"]["application/json"]["examples"]["contract"]["value"]


def test_the_limits_of_values_are_those_of_the_server() -> None:
    """Patterns, lengths and defaults are written again for the document. Both must say the same."""
    fields = rules.REQUEST_RULES
    assert fields["mentor_id"]["pattern"] == f"^{validation.MENTOR_ID.pattern}$"
    assert fields["sync_event_id"]["pattern"] == f"^{validation.SYNC_EVENT_ID.pattern}$"
    assert fields["reason"]["maxLength"] == validation.MAX_REASON_CHARACTERS
    assert fields["limit"]["default"] == validation.DEFAULT_LIMIT
    assert rules.RESPONSE_RULES["limit"]["maximum"] == validation.MAX_LIMIT
    key = rules.CALL_HEADERS["idempotency-key"]["schema"]["pattern"]
    assert key == f"^{validation.IDEMPOTENCY_KEY.pattern}$"
    reason = re.compile(fields["reason"]["pattern"])
    for character in map(chr, range(0x180)):
        assert bool(reason.search(character)) != bool(validation.REFUSED_CONTROL.search(character))


def test_every_reason_is_declared_with_its_status(openapi: dict[str, Any]) -> None:
    """Each reason of the contract is the example of at least one error."""
    responses = [
        one for item in openapi["paths"].values() for call in item.values() for one in call["responses"].values()
    ]
    examples = [
        name for one in responses for name in one.get("content", {}).get("application/json", {}).get("examples", {})
    ]
    assert set(examples) - {"contract"} == set(error_reason_pb2.ErrorReason.keys()[1:])


def test_the_docs_name_every_reason() -> None:
    """A new reason needs a row in docs/contract.md."""
    page = (PATH.parents[1] / "docs" / "contract.md").read_text("utf-8")
    assert [name for name in error_reason_pb2.ErrorReason.keys()[1:] if f"`{name}`" not in page] == []


def test_a_streamed_http_body_is_an_event_stream() -> None:
    """Its comment names its messages, its header, and the method that fails for the same reasons."""
    made = document(streaming_contract(), "1.0")
    validate(made)
    operation = made["paths"]["/watch"]["get"]
    assert operation["responses"]["200"]["content"] == {"text/event-stream": {"schema": {"type": "string"}}}
    named = [(one["in"], one["name"], one["schema"]["type"]) for one in operation["parameters"] if "name" in one]
    assert named == [("query", "mentor_id", "array"), ("header", "last-event-id", "string")]
    info = operation["responses"]["429"]["content"]["application/json"]["examples"]["TOO_MANY"]["value"]
    assert [detail["@type"].rpartition(".")[2] for detail in info["details"]] == ["ErrorInfo", "RetryInfo"]
    assert operation["description"].endswith("Its data:\n\n```text\n  change  one Change\n```")
    assert "Change" in made["components"]["schemas"]
    assert "Unused" not in made["components"]["schemas"]


def test_an_undeclared_answer_fails(openapi: dict[str, Any]) -> None:
    """The comparison is not blind: another status, a missing header, and a wrong, missing or further key fail."""
    specification = Specification(openapi)
    good = json.loads(contract.DELETE_EXAMPLE)
    specification.check(answer(200, good))
    for wrong in (
        good | {"deleted": "yes"},
        good | {"more": 1},
        {"deleted": True},
        good | {"deleted_at": "2026-03-26"},
    ):
        with pytest.raises(AssertionError):
            specification.check(answer(200, wrong))
    with pytest.raises(AssertionError):
        specification.check(answer(201, good))
    with pytest.raises(AssertionError):
        specification.check(answer(503, {"code": 14, "message": "down", "details": []}))  # without Retry-After


def test_an_error_with_an_undeclared_reason_fails(openapi: dict[str, Any]) -> None:
    """A delete fails with EVENT_NOT_FOUND, never with MENTOR_NOT_FOUND."""
    specification = Specification(openapi)
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "mentorstatus", "metadata": {}}
    body = {"code": 5, "message": "gone"}
    specification.check(answer(404, body | {"details": [info | {"reason": "EVENT_NOT_FOUND"}]}))
    with pytest.raises(AssertionError):
        specification.check(answer(404, body | {"details": [info | {"reason": "MENTOR_NOT_FOUND"}]}))


def answer(status: int, body: dict[str, Any]) -> httpx.Response:
    request = httpx.Request("DELETE", f"http://127.0.0.1{contract.BASE}/events/evt_XP2KL9RQ")
    return httpx.Response(status, json=body, headers={"x-request-id": "1"}, request=request)


def streaming_contract() -> Contract:
    """A service with one method, which streams google.api.HttpBody."""
    file = FileDescriptorProto(name="feed.proto", package="mentorstatus.v1")
    for name in ("WatchRequest", "Change", "Unused"):
        file.message_type.add(name=name)
    file.message_type[0].field.add(
        name="mentor_id", type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_REPEATED
    )
    reasons = file.enum_type.add(name="ErrorReason")
    reasons.value.add(name="ERROR_REASON_UNSPECIFIED")
    reasons.value.add(name="TOO_MANY")
    service = file.service.add(name="Feed")
    service.method.add(name="Other", input_type=".mentorstatus.v1.WatchRequest", output_type=".mentorstatus.v1.Unused")
    method = service.method.add(
        name="Watch",
        input_type=".mentorstatus.v1.WatchRequest",
        output_type=".google.api.HttpBody",
        server_streaming=True,
    )
    method.options.Extensions[annotations_pb2.http].get = "/watch"
    comments = {
        (5, 0, 2, 1): " Too many. RESOURCE_EXHAUSTED; HTTP 429.\n Wait for the google.rpc.RetryInfo.\n",
        (6, 0, 2, 0): " Fails with RESOURCE_EXHAUSTED (TOO_MANY).\n",
        (6, 0, 2, 1): " Reads Last-Event-ID. Fails as Other does. Its data:\n   change  one Change\n",
    }
    for path, comment in comments.items():
        file.source_code_info.location.add(path=path, leading_comments=comment)
    return Contract(FileDescriptorSet(file=[file]).file)
