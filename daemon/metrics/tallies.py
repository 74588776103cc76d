"""Counters and histograms that are cheap to add to, from any thread, and can be read at any moment."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.metrics.families import Family

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """What a histogram has for one set of labels: values per bucket, the last without bound, and their sum."""

    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metric: a number, or a ``Spread`` for a histogram."""

    labels: Labels
    value: float | Spread


class Counter:
    """One counter metric."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._lock = threading.Lock()
        self._counts: dict[Labels, int] = {}

    def add(self, *labels: str, count: int = 1) -> None:
        """``labels`` in the order of the family's."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + count

    def samples(self) -> Iterator[Sample]:
        with self._lock:
            counts = tuple(self._counts.items())
        return (Sample(labels, count) for labels, count in counts)


class Histogram:
    """One histogram metric."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._bounds = family.buckets
        self._lock = threading.Lock()
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str, count: int = 1) -> None:
        """``value`` was seen ``count`` times."""
        with self._lock:
            counts = self._counts.get(labels)
            if counts is None:
                counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
                self._sums[labels] = 0.0
            counts[bisect_left(self._bounds, value)] += count
            self._sums[labels] += value * count

    def samples(self) -> Iterator[Sample]:
        with self._lock:
            spreads = [(labels, Spread(tuple(counts), self._sums[labels])) for labels, counts in self._counts.items()]
        return (Sample(labels, spread) for labels, spread in spreads)
