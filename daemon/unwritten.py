"""``Unwritten``: what cannot be written down at the moment, mostly because a disk is full.

Invariant: each trouble is said once in the log when it begins and once when it ends, however often is tried meanwhile:
a log that repeats itself would fill the disk that is full already.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

log = logging.getLogger("slmreg")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """``since_s`` is Unix time."""

    what: str
    message: str
    since_s: float


class Unwritten:
    """Told by whoever writes, from any thread."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}

    def failed(self, what: str, error: BaseException) -> None:
        """``what`` could not be written, and will be tried again."""
        with self._lock:
            before = self._troubles.get(what)
            since_s = before.since_s if before is not None else self._now()
            self._troubles[what] = Trouble(what, str(error), since_s)
        if before is None:
            log.error("unwritten.begun what=%r error=%r", what, str(error))

    def worked(self, what: str) -> None:
        with self._lock:
            before = self._troubles.pop(what, None)
        if before is not None:
            log.info("unwritten.ended what=%r", what)

    def watching(self, what: str, write: Callable[P, T]) -> Callable[P, T]:
        """``write``, which tells by itself whether it worked; what it raises it still raises."""

        @functools.wraps(write)
        def watched(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                written = write(*args, **kwargs)
            except Exception as error:
                self.failed(what, error)
                raise
            self.worked(what)
            return written

        return watched

    def now(self) -> tuple[Trouble, ...]:
        """By what cannot be written."""
        with self._lock:
            return tuple(self._troubles[what] for what in sorted(self._troubles))
