"""The metrics of one service that several threads use at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mentorsync.domain.errors import EventNotFoundError
from mentorsync.domain.ledger import Ledger
from mentorsync.domain.records import LogHead
from mentorsync.metrics import Metrics
from mentorsync.metrics_server import MetricsServer, RequestHandler
from mentorsync.storage.store import Commit

THREADS = 4
CALLS = 2_000


def test_no_observation_of_concurrent_threads_is_lost() -> None:
    """Every event loop of the process observes its calls in the same metrics."""
    metrics = Metrics()
    barrier = Barrier(THREADS)

    def observe(_number: int) -> None:
        barrier.wait()
        for number in range(CALLS):
            metrics.observe_call(f"Method{number % 10}", "OK", 0.001)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(observe, range(THREADS)))
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    counts = [sample.value for sample in samples if sample.name == "mentorsync_call_duration_seconds_count"]
    assert counts == [THREADS * CALLS / 10] * 10


def test_a_commit_counts_its_operations() -> None:
    """One observation per transaction, of the number of its operations."""
    metrics = Metrics()
    head = LogHead(0, 0, 0)
    ledger = Ledger(head, [], [], 0)
    metrics.observe_commit(
        Commit([EventNotFoundError("evt_1")] * 3, head, 0, has_erased_text=False, first_revision=1, ledger=ledger)
    )
    assert metrics.registry.get_sample_value("mentorsync_write_batch_operations_count") == 1
    assert metrics.registry.get_sample_value("mentorsync_write_batch_operations_sum") == 3


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each open connection has a thread and a descriptor."""
    assert RequestHandler.timeout
    monkeypatch.setattr(RequestHandler, "timeout", RequestHandler.timeout / 1_000)
    server = MetricsServer(Metrics().registry, "127.0.0.1", 0)
    async with server.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
        assert await reader.read() == b""
        writer.close()
