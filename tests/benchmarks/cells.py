"""The loads that are measured: an operation over a transport, with a number of requests in flight."""

from typing import NamedTuple


class Cell(NamedTuple):
    transport: str
    operation: str
    in_flight: int

    def __str__(self) -> str:
        return f"{self.transport} {self.operation}, {self.in_flight} in flight"


REST_SNAPSHOT_16 = Cell("REST", "snapshot", 16)
REST_SNAPSHOT_64 = Cell("REST", "snapshot", 64)
REST_LIST_16 = Cell("REST", "list", 16)
REST_SUBMIT_1 = Cell("REST", "submit", 1)
REST_SUBMIT_16 = Cell("REST", "submit", 16)
REST_SUBMIT_64 = Cell("REST", "submit", 64)
REST_UPDATE_16 = Cell("REST", "update", 16)
REST_DELETE_16 = Cell("REST", "delete", 16)
GRPC_SNAPSHOT_16 = Cell("gRPC", "snapshot", 16)
GRPC_SUBMIT_64 = Cell("gRPC", "submit", 64)
POSTGRES_SUBMIT_1 = Cell("PostgreSQL", "submit", 1)
POSTGRES_SUBMIT_64 = Cell("PostgreSQL", "submit", 64)
STORAGE_SUBMIT_64 = Cell("storage", "submit", 64)
DISK_SYNC = Cell("storage", "fdatasync", 1)

# In the order of measurement: loads that read the 1,000 pending events run before loads that add events.
REST_CELLS = (
    REST_SNAPSHOT_16,
    REST_SNAPSHOT_64,
    REST_LIST_16,
    REST_SUBMIT_1,
    REST_SUBMIT_16,
    REST_SUBMIT_64,
    REST_UPDATE_16,
    REST_DELETE_16,
)
GRPC_CELLS = (GRPC_SNAPSHOT_16, GRPC_SUBMIT_64)
POSTGRES_CELLS = (POSTGRES_SUBMIT_1, POSTGRES_SUBMIT_64)
CELLS = (*REST_CELLS, *GRPC_CELLS, *POSTGRES_CELLS, STORAGE_SUBMIT_64, DISK_SYNC)
