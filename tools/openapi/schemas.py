"""JSON schemas of messages and enums, as the gateway reads and prints them."""

import re

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from tools.openapi.contract import Contract, short
from tools.openapi.rules import MESSAGE_RULES, REQUEST_RULES, RESPONSE_RULES, WHOLE_SECONDS, Schema

Field = FieldDescriptorProto
TIMESTAMP = ".google.protobuf.Timestamp"
# 64-bit integers are missing: JSON would print them as strings.
SCALARS: dict[int, Schema] = {
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_INT32: {"type": "integer", "format": "int32"},
}
REQUIRED = re.compile(r"\bRequired\.")  # in the comment of a request's field


class Schemas:
    """Makes the schemas. `components` collects those of all messages and enums that were referred to."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.components: dict[str, Schema] = {}

    def reference(self, name: str, without: frozenset[str] = frozenset()) -> Schema:
        """A reference to a message or an enum. `without` names fields of a message that the body does not carry."""
        key = short(name)
        if key not in self.components:
            self.components[key] = {}  # keeps the order, and ends a recursion
            element = self._contract[name]
            is_message = isinstance(element, DescriptorProto)
            self.components[key] = self._message(name, without) if is_message else self._enum(name)
        return {"$ref": f"#/components/schemas/{key}"}

    def field(self, message: str, field: FieldDescriptorProto) -> Schema:
        is_request = message.endswith("Request")
        schema = self._type(field, is_request=is_request)
        schema |= (REQUEST_RULES if is_request else RESPONSE_RULES).get(field.name, {})
        if field.label == Field.LABEL_REPEATED:
            schema = {"type": "array", "items": schema}
        return schema | {"description": self._contract.comment(f"{message}.{field.name}")}

    def is_required(self, message: str, field: FieldDescriptorProto) -> bool:
        """In answers, all fields are printed that have no explicit presence."""
        if message.endswith("Request"):
            return bool(REQUIRED.search(self._contract.comment(f"{message}.{field.name}")))
        return not field.proto3_optional

    def _type(self, field: FieldDescriptorProto, *, is_request: bool) -> Schema:
        if field.type_name == TIMESTAMP:
            return {"type": "string", "format": "date-time"} | ({} if is_request else {"pattern": WHOLE_SECONDS})
        if field.type in (Field.TYPE_MESSAGE, Field.TYPE_ENUM):
            return self.reference(field.type_name)
        return dict(SCALARS[field.type])

    def _message(self, name: str, without: frozenset[str]) -> Schema:
        fields = [field for field in self._contract[name].field if field.name not in without]
        required = [field.name for field in fields if self.is_required(name, field)]
        schema: Schema = {
            "type": "object",
            "description": self._contract.comment(name),
            "properties": {field.name: self.field(name, field) for field in fields},
        }
        if required:
            schema["required"] = required
        if not name.endswith("Request"):  # unknown fields of a request are ignored
            schema["additionalProperties"] = False
        return schema | MESSAGE_RULES.get(short(name), {})

    def _enum(self, name: str) -> Schema:
        """The first value means that none is set. It is never valid."""
        names = [value.name for value in self._contract[name].value[1:]]
        meanings = [f"- `{value}`: {self._contract.comment(f'{name}.{value}')}" for value in names]
        description = "\n".join([self._contract.comment(name), "", *meanings])
        return {"type": "string", "description": description, "enum": names}
