"""``Deadline``: by when an answer has to be there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from daemon.terms import Terms
from registry.errors import AnswerTimedOut


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when an answer has to be there, by the event loop's clock: ``request_timeout_s`` after its model was free, and
    ``by_s`` at the latest, if the request itself says so."""

    timeout_s: float
    allowed_s: float | None
    by_s: float | None

    @classmethod
    def of(cls, terms: Terms, timeout_s: float) -> Self:
        """For a request that has come just now."""
        allowed_s = terms.deadline_s
        now_s = asyncio.get_running_loop().time()
        return cls(timeout_s, allowed_s, None if allowed_s is None else now_s + allowed_s)

    def wait_s(self) -> float | None:
        """How long it may still wait for its model; None: as long as the settings say."""
        return None if self.by_s is None else max(0.0, self.by_s - asyncio.get_running_loop().time())

    def from_now_s(self) -> float:
        """When an answer that begins now has to end."""
        ends_s = asyncio.get_running_loop().time() + self.timeout_s
        return ends_s if self.by_s is None else min(ends_s, self.by_s)

    def missed(self) -> AnswerTimedOut:
        is_own = self.by_s is not None and asyncio.get_running_loop().time() >= self.by_s
        limit = (
            f"the {self.allowed_s:g} s that the request allows"
            if is_own
            else (f"request_timeout_s = {self.timeout_s:g} s")
        )
        return AnswerTimedOut(
            f"The answer was not finished within {limit}. Ask for fewer tokens (max_tokens) or allow more time."
        )
