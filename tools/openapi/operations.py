"""The operations: one for each method with an HTTP annotation."""

import json
import re
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodDescriptorProto

from tools.openapi.contract import Contract, short
from tools.openapi.errors import error_responses, reasons, reasons_of
from tools.openapi.rules import CALL_HEADERS, Schema, headers
from tools.openapi.schemas import Schemas

EXAMPLES: dict[str, Any] = json.loads(Path(__file__).with_name("examples.json").read_text("utf-8"))
HTTP_BODY = ".google.api.HttpBody"
EVENT_STREAM = "text/event-stream"
WORD = re.compile(r"[A-Z][a-z]*")
TAG = "Calls"
VARIABLE = re.compile(r"\{(\w+)\}")
SAME_FAILURES = re.compile(r"Fails as (\w+) does")  # in the comment of a method
REQUEST_ID_PARAMETER = {"$ref": "#/components/parameters/x-request-id"}


class Operations:
    """Makes the operations of a service, and with them the schemas that they refer to."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas
        self._reasons = reasons(contract)

    def paths(self, service: str) -> dict[str, Schema]:
        """The path items of all methods, by path."""
        paths: dict[str, Schema] = {}
        for method in self._contract[service].method:
            rule = method.options.Extensions[annotations_pb2.http]
            if verb := rule.WhichOneof("pattern"):
                path = getattr(rule, verb)
                paths.setdefault(path, {})[verb] = self._operation(service, method, path, has_body=bool(rule.body))
        return paths

    def _operation(self, service: str, method: MethodDescriptorProto, path: str, *, has_body: bool) -> Schema:
        comment = self._contract.comment(f"{service}.{method.name}")
        in_path = frozenset(VARIABLE.findall(path))
        operation: Schema = {
            "operationId": method.name,
            "summary": WORD.sub(r" \g<0>", method.name).strip().capitalize(),
            "description": comment,
            "tags": [TAG],
            "parameters": [*self._fields(method, in_path, has_body=has_body), *_headers(comment)],
        }
        if has_body:
            content = {"schema": self._schemas.reference(method.input_type, in_path)} | _example(method.input_type)
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        operation["responses"] = {"200": self._success(method, comment)} | error_responses(
            reasons_of(self._failures(service, comment), self._reasons), is_stream=method.server_streaming
        )
        return operation

    def _failures(self, service: str, comment: str) -> str:
        """A method's comment, with that of the method to which it refers for its failures."""
        return "\n".join(
            [comment, *(self._contract.comment(f"{service}.{name}") for name in SAME_FAILURES.findall(comment))]
        )

    def _fields(self, method: MethodDescriptorProto, in_path: frozenset[str], *, has_body: bool) -> list[Schema]:
        """The parameters in the path. Without a body, the other fields of the request are those in the query."""
        fields = self._contract[method.input_type].field
        return [
            self._parameter(method.input_type, field, "path" if field.name in in_path else "query")
            for field in fields
            if field.name in in_path or not has_body
        ]

    def _parameter(self, message: str, field: FieldDescriptorProto, place: str) -> Schema:
        schema = self._schemas.field(message, field)
        described = {"name": field.name, "in": place, "description": schema.pop("description")}
        is_required = {"required": True, "example": EXAMPLES[field.name]} if place == "path" else {}
        in_query = EXAMPLES.get(short(message), {}) if place == "query" else {}
        example = {"example": in_query[field.name]} if field.name in in_query else {}
        return described | is_required | example | {"schema": schema}

    def _success(self, method: MethodDescriptorProto, comment: str) -> Schema:
        common = {"headers": headers("x-request-id")}
        if method.output_type == HTTP_BODY:
            return {"description": "The stream."} | common | {"content": {EVENT_STREAM: self._stream(method, comment)}}
        if method.server_streaming:
            raise ValueError(f"{method.name}: over REST, a method streams google.api.HttpBody or nothing")
        content = {"schema": self._schemas.reference(method.output_type)} | _example(method.output_type)
        description = self._contract.comment(method.output_type)
        return {"description": description} | common | {"content": {"application/json": content}}

    def _stream(self, method: MethodDescriptorProto, comment: str) -> Schema:
        """Server-sent events are a text. The messages in their data are those that the method's comment names."""
        if not method.server_streaming:
            raise ValueError(f"{method.name}: only a stream may return google.api.HttpBody")
        package = method.input_type.rpartition(".")[0]
        for word in dict.fromkeys(re.findall(r"\w+", comment)):
            if f"{package}.{word}" in self._contract:
                self._schemas.reference(f"{package}.{word}")
        return {"schema": {"type": "string"}} | _example(method.name)


def _headers(comment: str) -> list[Schema]:
    own = [{"name": name, "in": "header"} | CALL_HEADERS[name] for name in CALL_HEADERS if name in comment.lower()]
    return [*own, REQUEST_ID_PARAMETER]


def _example(name: str) -> Schema:
    example = EXAMPLES.get(short(name))
    return {"examples": {"contract": {"value": example}}} if example else {}
