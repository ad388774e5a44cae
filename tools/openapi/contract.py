"""The descriptors of the contract by their full names, with the comments of the protobuf files."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

PACKAGE = "mentorstatus.v1"
LINTER_NOTE = "buf:lint:"  # begins the lines of a comment that are for the linter alone
INDENTED = re.compile(r"(?:^  .*\n)+", re.MULTILINE)

# The numbers by which a location's path names an element of its parent, from descriptor.proto.
ELEMENTS = {
    FileDescriptorProto: {"message_type": 4, "enum_type": 5, "service": 6},
    DescriptorProto: {"field": 2, "nested_type": 3, "enum_type": 4},
    EnumDescriptorProto: {"value": 2},
    ServiceDescriptorProto: {"method": 2},
}


class Contract:
    """Full names start with a dot, as the fields' types do. Methods, fields and values are named below their parent."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._elements: dict[str, Any] = {}
        self._comments: dict[str, str] = {}
        self.services: list[str] = []
        for file in files:
            if file.package == PACKAGE:
                self._read(file)

    def __getitem__(self, name: str) -> Any:
        """The descriptor of an element."""
        return self._elements[name]

    def __contains__(self, name: str) -> bool:
        return name in self._elements

    def comment(self, name: str) -> str:
        return self._comments.get(name, "")

    def _read(self, file: FileDescriptorProto) -> None:
        comments = {tuple(place.path): _clean(place.leading_comments) for place in file.source_code_info.location}
        for path, name, element in _walk(file, (), f".{file.package}"):
            self._elements[name] = element
            self._comments[name] = comments.get(path, "")
            if isinstance(element, ServiceDescriptorProto):
                self.services.append(name)


def short(name: str) -> str:
    """The last part of a full name."""
    return name.rpartition(".")[2]


def _walk(parent: Any, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str, Any]]:
    """All elements below a parent, with their paths and full names."""
    for kind, number in ELEMENTS.get(type(parent), {}).items():
        for index, element in enumerate(getattr(parent, kind)):
            place = (*path, number, index), f"{name}.{element.name}"
            yield *place, element
            yield from _walk(element, *place)


def _clean(comment: str) -> str:
    """The comment as Markdown: lines that are indented become a block of code."""
    lines = [line.removeprefix(" ") for line in comment.splitlines() if LINTER_NOTE not in line]
    return INDENTED.sub(r"\n```text\n\g<0>```\n", "\n".join(lines) + "\n").strip()
