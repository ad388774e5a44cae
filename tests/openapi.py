"""Compares answers with openapi.yaml: the status, the headers and the body must be those that it declares."""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = Path(__file__).parents[1] / "generated" / "openapi.yaml"
URI = "urn:openapi"  # names the document, so that its references can be resolved
JSON = "application/json"
ERROR = {"$ref": f"{URI}#/components/schemas/Error"}
Document = dict[str, Any]


class PathItem(NamedTuple):
    """A path of the document: what matches it in requests, and the responses of each method."""

    pattern: re.Pattern[str]
    methods: dict[str, Document]


class Specification:
    """A document. `check` is for any answer of the REST address."""

    def __init__(self, document: Document) -> None:
        self._document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(URI, resource)
        # As OpenAPI says, a literal path comes before one with a variable that would match it too.
        items = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        self._paths = [
            PathItem(
                re.compile(re.sub(r"\{\w+\}", "[^/]+", path)),
                {method.upper(): operation["responses"] for method, operation in item.items()},
            )
            for path, item in items
        ]

    def check(self, response: httpx.Response) -> None:
        """Raises AssertionError if the document does not allow this answer to this request."""
        request = response.request
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        methods = next((item.methods for item in self._paths if item.pattern.fullmatch(path)), {})
        if request.method in methods:
            self._check_operation(methods[request.method], response)
        elif response.is_error:
            self._check_error(response)

    def _check_operation(self, responses: Document, response: httpx.Response) -> None:
        status = str(response.status_code)
        assert status in responses, f"{response.request.method} {response.request.url}: {status} is not declared"
        declared = self._resolve(responses[status])
        for name, header in declared["headers"].items():
            self._check_header(self._resolve(header), name, response)
        content_type = response.headers["content-type"]
        assert content_type in declared["content"], f"{content_type} is not declared"
        if content_type == JSON:
            self._check_body(declared["content"][JSON]["schema"], response)

    def _check_header(self, header: Document, name: str, response: httpx.Response) -> None:
        assert name in response.headers or not header.get("required"), f"{name} is missing"
        if name in response.headers:
            text = response.headers[name]
            schema = header["schema"]
            Draft202012Validator(schema).validate(int(text) if schema["type"] == "integer" else text)

    def _check_error(self, response: httpx.Response) -> None:
        """An answer to a request that is no operation."""
        assert response.headers["x-request-id"]
        if response.request.method != "HEAD":
            self._check_body(ERROR, response)

    def _check_body(self, schema: Document, response: httpx.Response) -> None:
        validator = Draft202012Validator(_absolute(schema), registry=self._registry)
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(response.json())]
        assert not errors, f"{response.request.method} {response.request.url}: {response.text}: {errors}"

    def _resolve(self, value: Document) -> Document:
        if "$ref" not in value:
            return value
        found: Document = self._document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found


def _absolute(value: Any) -> Any:
    """A schema whose references name the document."""
    if isinstance(value, dict):
        return {
            key: f"{URI}{one}" if key == "$ref" and one.startswith("#") else _absolute(one)
            for key, one in value.items()
        }
    return [_absolute(one) for one in value] if isinstance(value, list) else value


@cache
def specification() -> Specification:
    return Specification(yaml.safe_load(PATH.read_text("utf-8")))


def check(response: httpx.Response) -> None:
    """The hook for clients: reads an answer and compares it with openapi.yaml. A stream is left to the test."""
    if response.headers.get("content-type") != "text/event-stream":
        response.read()
    specification().check(response)
