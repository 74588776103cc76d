"""How long calls of the engine take, by their size, as measured while it works."""

from __future__ import annotations

# How much the latest call counts against those before it.
_WEIGHT = 0.3
# What one more row or token adds to the time of a single one, until more is known: a 0.5B model with int4 weights on
# two cores takes 16 ms for one and 42 ms for eight.
_GUESSED_ADDED = 0.2


class CallTimes:
    """Seconds by size, 1 or more, in rows or tokens. Sizes in between are interpolated, others guessed."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def record(self, size: int, seconds: float) -> None:
        """A call of ``size`` took ``seconds``."""
        before = self._seconds.get(size, seconds)
        self._seconds[size] = (1 - _WEIGHT) * before + _WEIGHT * seconds

    def of(self, size: int) -> float | None:
        """Seconds of a call of ``size``; None before any was measured."""
        smaller = max((known for known in self._seconds if known <= size), default=None)
        larger = min((known for known in self._seconds if known >= size), default=None)
        if smaller is None or larger is None:
            known = larger if smaller is None else smaller
            return None if known is None else self._seconds[known] * _shape(size) / _shape(known)
        if smaller == larger:
            return self._seconds[size]
        share = (size - smaller) / (larger - smaller)
        return (1 - share) * self._seconds[smaller] + share * self._seconds[larger]

    def fade(self, share: float) -> None:
        """Forget ``share`` of every time: what is not called any more, because it was slow once, gets a new chance."""
        self._seconds = {size: seconds * (1 - share) for size, seconds in self._seconds.items()}


def _shape(size: int) -> float:
    return 1 + _GUESSED_ADDED * (size - 1)
