"""Cursors: points of the feed that a receiver may keep."""

import base64
import hashlib
import re
import struct
from collections.abc import Collection
from typing import NamedTuple

VERSION = 1
POINT = struct.Struct(">BQQ")  # version, epoch and revision
FILTER_BYTES = 7  # makes the whole 24 bytes, which base64 needs no padding for
TEXT = re.compile(r"[A-Za-z0-9_-]{32}")


class MalformedCursorError(Exception):
    """A text that no version of the service gave as a cursor."""


class Cursor(NamedTuple):
    """The point after a revision, in the log's history `epoch`, for one choice of mentors."""

    epoch: int
    revision: int
    filter_hash: bytes

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises MalformedCursorError."""
        if not TEXT.fullmatch(text):
            raise MalformedCursorError
        data = base64.urlsafe_b64decode(text)  # any such text is base64
        version, epoch, revision = POINT.unpack_from(data)
        if version != VERSION:
            raise MalformedCursorError
        return cls(epoch, revision, data[POINT.size :])

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(POINT.pack(VERSION, self.epoch, self.revision) + self.filter_hash).decode()


def filter_hash(mentor_ids: Collection[str]) -> bytes:
    """Identifies a choice of mentors, in any order. No mentors means all."""
    return hashlib.blake2b(" ".join(sorted(set(mentor_ids))).encode(), digest_size=FILTER_BYTES).digest()
