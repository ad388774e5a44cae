"""What a mirror answers: the headers about the caller that reached it, as text."""

import json
from collections.abc import Iterable

PREFIXES = ("x-mentorsync-", "authorization")


def reflection(headers: Iterable[tuple[str, str | bytes]]) -> str:
    return json.dumps(sorted((name, str(value)) for name, value in headers if name.startswith(PREFIXES)))
