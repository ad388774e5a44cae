"""A receiver that does not read, and a present state that is more than all buffers on its way hold."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mentorsync.domain.operations import SubmitOperation
from mentorsync.domain.status import EventType
from mentorsync.storage.engine import open_engine

from tests.contract import BASE

EVENTS = 6_000  # their present state is 2 MB
BATCH = 1_000
REQUEST = f"GET {BASE}/watch HTTP/1.1\r\nhost: test\r\n\r\n".encode()


def fill(url: str) -> None:
    """Adds the events to a database that has its schema."""
    engine = open_engine(url)
    store = engine.open_store()
    for _ in range(EVENTS // BATCH):
        store.transact([SubmitOperation("mntr_1", EventType.PAUSE, "", None, None)] * BATCH)
    store.close()
    engine.close()


@contextmanager
def stalled_receiver(rest: tuple[str, int]) -> Iterator[socket.socket]:
    """Its connection, on which it has asked for the feed."""
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(rest)
        stalled.sendall(REQUEST)
        yield stalled
