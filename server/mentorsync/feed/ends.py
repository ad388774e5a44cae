"""How a stream can end."""

from enum import Enum


class End(Enum):
    """Why a stream ended."""

    TIME = "its time is over"
    STOPPING = "the server stops"
    DISCONNECTED = "the client has disconnected"
    STALLED = "the client does not read"
    STORAGE = "the database is unavailable"
