"""The feed's numbers, for Prometheus."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mentorsync.feed.ends import End
from mentorsync.feed.feed import Feed
from mentorsync.feed.resets import ResetReason


class FeedCollector(Collector):
    """Adds the numbers of all event loops up whenever the metrics are read."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def collect(self) -> Iterable[Metric]:
        some = self._feed.subscribers
        counts = [subscribers.counts for subscribers in some]
        yield _gauge("streams", "Open streams of the live feed.", self._feed.slots.used)
        yield _gauge("streams_stalled", "Streams whose receivers do not read.", sum(one.stalled for one in some))
        yield _gauge("catch_ups", "Streams that read the database.", sum(one.catch_ups for one in counts))
        yield _gauge("lag_revisions", "This process's commits that streams lack.", self._feed.tail.lag_revisions)
        yield _counter("messages", "Messages that were sent.", sum(one.messages for one in counts))
        yield _counter(
            "deliveries", "Changes that were sent, once for each receiver.", sum(one.deliveries for one in counts)
        )
        yield _counter("sent_bytes", "Bytes of messages.", sum(one.bytes for one in counts))
        resets = CounterMetricFamily(
            "mentorsync_feed_resets", "Cursors that could not be continued.", labels=["reason"]
        )
        for reason in ResetReason:
            resets.add_metric([reason.name], sum(one.resets[reason] for one in counts))
        yield resets
        ends = CounterMetricFamily("mentorsync_feed_ends", "Streams that ended.", labels=["cause"])
        for end in End:
            ends.add_metric([end.name.lower()], sum(one.ends[end] for one in counts))
        yield ends


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mentorsync_feed_{name}", meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"mentorsync_feed_{name}", meaning, value=value)
