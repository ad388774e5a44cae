"""Writes openapi.yaml: `buf build --output -#format=binpb | python -m tools.openapi FILE`."""

import sys
from pathlib import Path

import yaml
from google.api import annotations_pb2  # noqa: F401 - registers the option that the descriptor set carries
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mentorsync import __version__

from tools.openapi.contract import Contract
from tools.openapi.document import document

NOTICE = "# Made by `make generate` from the protobuf files, with their comments. Do not edit.\n"
LINE_WIDTH = 120


class Dumper(yaml.SafeDumper):
    """Writes each value in full, and texts of several lines as they read."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, _text)


def main() -> None:
    files = FileDescriptorSet.FromString(sys.stdin.buffer.read()).file
    text = yaml.dump(
        document(Contract(files), __version__), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=LINE_WIDTH
    )
    Path(sys.argv[1]).write_text(NOTICE + text, "utf-8")


if __name__ == "__main__":
    main()
