from __future__ import annotations

import threading

import pytest

from daemon.metrics.families import Family, Kind
from daemon.metrics.tallies import Counter, Histogram, Sample, Spread

COUNTER = Family("x_total", Kind.COUNTER, "x", ("a",))
HISTOGRAM = Family("x_seconds", Kind.HISTOGRAM, "x", ("a",), (0.1, 1.0))


def test_a_counter_counts_for_each_set_of_labels() -> None:
    counter = Counter(COUNTER)
    counter.add("one")
    counter.add("two", count=3)
    counter.add("one", count=0)
    assert list(counter.samples()) == [Sample(("one",), 1), Sample(("two",), 3)]


def test_a_histogram_sorts_values_into_buckets_that_hold_their_upper_bound() -> None:
    histogram = Histogram(HISTOGRAM)
    for value in (0.05, 0.1, 0.5, 5.0):
        histogram.observe(value, "one")
    histogram.observe(0.25, "one", count=4)
    (sample,) = histogram.samples()
    assert isinstance(sample.value, Spread)
    assert sample.value.counts == (2, 5, 1)
    assert sample.value.sum == pytest.approx(6.65)


def test_nothing_is_lost_between_threads() -> None:
    counter, histogram = Counter(COUNTER), Histogram(HISTOGRAM)

    def add() -> None:
        for _ in range(2000):
            counter.add("one")
            histogram.observe(0.5, "one")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counter.samples()) == [Sample(("one",), 8000)]
    assert list(histogram.samples()) == [Sample(("one",), Spread((0, 8000, 0), 4000.0))]
