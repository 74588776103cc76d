"""On what terms a request is answered: by when, and how long its model stays loaded afterwards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long a model stays loaded when nobody uses it any more; ``seconds`` None is for ever, 0 not at all."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Terms:
    """``keep_alive`` None: as the settings say. ``deadline_s``: so many seconds after the request came the whole answer
    has to be there, waiting and loading included; None: within the limits of the settings. ``context_tokens``: room
    that prompt and answer must have together; None: whatever there is."""

    keep_alive: KeepAlive | None = None
    deadline_s: float | None = None
    context_tokens: int | None = None


NO_TERMS = Terms()
