"""The metrics as Prometheus reads them, in its text format or in OpenMetrics. The one place that knows its library.

Invariant: the library is imported when somebody first asks for metrics: who never does need not have it in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from daemon.metrics.book import Reading
from daemon.metrics.families import Family, Kind
from daemon.metrics.tallies import Sample, Spread

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

Read = Callable[[], Iterable[Reading]]


class Exposition:
    """Writes what ``read`` gives. With a registry of its own: nothing that another part of the process counts is in."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._registry: CollectorRegistry | None = None

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type, by the request's header ``Accept``. Any thread; touches the disk."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._own_registry()), content_type

    def _own_registry(self) -> CollectorRegistry:
        from prometheus_client import CollectorRegistry, ProcessCollector

        with self._lock:
            if self._registry is None:
                registry = CollectorRegistry()
                ProcessCollector(registry=registry)
                registry.register(_Collector(self._read))
                self._registry = registry
            return self._registry


class _Collector:
    """As prometheus-client wants it."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: to be registered it need not be read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        for family, samples in self._read():
            yield _metric(family, samples)


def _metric(family: Family, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for sample in samples:
            if isinstance(sample.value, Spread):
                histogram.add_metric(sample.labels, _buckets(family, sample.value), sample.value.sum)
        return histogram
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    numbers = make(family.name, family.help, labels=family.labels)
    for sample in samples:
        if not isinstance(sample.value, Spread):
            numbers.add_metric(sample.labels, sample.value)
    return numbers


def _buckets(family: Family, spread: Spread) -> list[tuple[str, float]]:
    """Each with all that is in those before it."""
    bounds = (*map(str, family.buckets), "+Inf")
    return list(zip(bounds, accumulate(spread.counts), strict=True))
