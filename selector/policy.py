"""How much waiting matters: the one value of a choice that settings and requests name as well."""

from __future__ import annotations

from enum import StrEnum


class Policy(StrEnum):
    """What waiting weighs against quality: ``fast`` doubles its cost, ``quality`` halves it."""

    FAST = "fast"
    BALANCED = "balanced"
    QUALITY = "quality"
