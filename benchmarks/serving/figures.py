"""Figures with the limits that they are held to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` in ``unit``, held to ``limit``: at most that, or at least (``is_floor``).

    ``detail`` says what it was made of.
    """

    name: str
    value: float
    unit: str
    limit: float
    detail: str
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def __str__(self) -> str:
        mark = "ok    " if self.is_met else "MISSED"
        bound = f"{'>=' if self.is_floor else '<='} {self.limit:g}"
        return f"{mark} {self.name:<22} {self.value:>7.2f} {self.unit:<7} {bound:<8} {self.detail}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of pairs that were measured right after each other: a machine that drifts slows both."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
