"""The loads that are measured: an operation over a transport, with a number of requests in flight."""

from typing import NamedTuple


class Cell(NamedTuple):
    transport: str
    operation: str
    in_flight: int

    @property
    def is_read(self) -> bool:
        return self.operation.startswith(("snapshot", "list"))

    def __str__(self) -> str:
        return f"{self.transport} {self.operation}, {self.in_flight} in flight"


# A list returns a page of 20 events, and a snapshot has one pending event, unless another number is named.
REST_SNAPSHOT_16 = Cell("REST", "snapshot", 16)
REST_SNAPSHOT_64 = Cell("REST", "snapshot", 64)
REST_LIST_16 = Cell("REST", "list", 16)
REST_LIST_64 = Cell("REST", "list", 64)
REST_LIST_OF_1_16 = Cell("REST", "list of 1", 16)
REST_LIST_OF_1_64 = Cell("REST", "list of 1", 64)
REST_LIST_OF_100_16 = Cell("REST", "list of 100", 16)
REST_LIST_OF_100_64 = Cell("REST", "list of 100", 64)
REST_SNAPSHOT_OF_20_16 = Cell("REST", "snapshot of 20", 16)
REST_SNAPSHOT_OF_20_64 = Cell("REST", "snapshot of 20", 64)
REST_SNAPSHOT_OF_100_16 = Cell("REST", "snapshot of 100", 16)
REST_SNAPSHOT_OF_100_64 = Cell("REST", "snapshot of 100", 64)
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

# In the order of measurement: loads that read the pending events run before loads that add events.
PAGE_CELLS = (
    REST_SNAPSHOT_OF_20_16,
    REST_SNAPSHOT_OF_20_64,
    REST_SNAPSHOT_OF_100_16,
    REST_SNAPSHOT_OF_100_64,
    REST_LIST_OF_1_16,
    REST_LIST_OF_1_64,
    REST_LIST_64,
    REST_LIST_OF_100_16,
    REST_LIST_OF_100_64,
)
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
CELLS = (*PAGE_CELLS, *REST_CELLS, *GRPC_CELLS, *POSTGRES_CELLS, STORAGE_SUBMIT_64, DISK_SYNC)
