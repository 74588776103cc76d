"""What a check says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """A PROBLEM needs somebody to do something; a NOTE is good to know, mostly because something is slow for it."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is what was looked at, ``items`` the single things behind a sum, ``advice`` what to do."""

    level: Level
    subject: str
    message: str
    advice: str | None = None
    items: tuple[str, ...] = ()
