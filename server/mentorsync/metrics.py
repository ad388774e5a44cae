"""The service's metrics, for Prometheus."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from mentorsync.feed.feed import Feed
from mentorsync.feed.metrics import FeedCollector
from mentorsync.storage.store import Commit

# Seconds. From the duration of a snapshot to the longest that a phone waits.
DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one service, in a registry of their own. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._durations = Histogram(
            "mentorsync_call_duration_seconds",
            "Duration of calls by method and gRPC code.",
            ("method", "code"),
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "mentorsync_write_batch_operations",
            "Operations per write transaction.",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self._feed_rounds = Histogram(
            "mentorsync_feed_send_seconds",
            "Seconds from when the process reads a change until it is sent to the streams of an event loop.",
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], Histogram] = {}

    def observe_call(self, method: str, code: str, seconds: float) -> None:
        key = (method, code)
        child = self._children.get(key)
        if child is None:  # labels() costs more than the observation; two threads that call it get the same child
            child = self._children[key] = self._durations.labels(*key)
        child.observe(seconds)

    def observe_feed_round(self, seconds: float) -> None:
        """The seconds from when the process learnt of a change until the streams of an event loop were sent it."""
        self._feed_rounds.observe(seconds)

    def watch_feed(self, feed: Feed) -> None:
        """Reads the feed's numbers whenever the metrics are read."""
        self.registry.register(FeedCollector(feed))

    def observe_commit(self, commit: Commit) -> None:
        self._batches.observe(len(commit.outcomes))

    def watch_writer(self, queued: Callable[[], float], clock_ahead_seconds: Callable[[], float]) -> None:
        """Calls these two functions, from the thread that serves /metrics, each time the metrics are read."""
        queue = Gauge("mentorsync_write_queue_depth", "Writes waiting or being written.", registry=self.registry)
        queue.set_function(queued)
        clock = Gauge(
            "mentorsync_clock_ahead_seconds",
            "How far the newest stored time is ahead of the clock.",
            registry=self.registry,
        )
        clock.set_function(clock_ahead_seconds)

    def watch_log(self, lines_dropped: Callable[[], float]) -> None:
        """Reads this count, which never decreases, whenever the metrics are read."""
        self.registry.register(_LinesDropped(lines_dropped))


class _LinesDropped(Collector):
    def __init__(self, lines_dropped: Callable[[], float]) -> None:
        self._lines_dropped = lines_dropped

    def collect(self) -> Iterator[CounterMetricFamily]:
        meaning = "Log lines dropped because they were not read in time."
        yield CounterMetricFamily("mentorsync_log_lines_dropped", meaning, value=self._lines_dropped())
