"""Which requests can begin with what is being read for another one just now.

Many requests with one system prompt may come at the same time. Where a backend can copy rows, the common part is read
once, by the one that was admitted first, and the others begin with a copy of it.

Invariant: a request waits only for those that were admitted before it, and only as long as they are ahead of it. So
nobody waits for one another, waiting takes no longer than reading, and when the one ahead is gone the next reads on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemon.worker.prefix_cache import LEAST_PREFIX_TOKENS, common_length
from daemon.worker.request import Request
from daemon.worker.rows import REREAD_TOKENS


@dataclass(frozen=True, slots=True)
class Leader:
    """``request`` begins with the same ``length`` tokens, and stays of use until it leaves its row."""

    request: Request
    admission: int
    length: int

    @property
    def is_there(self) -> bool:
        return self.request.row is not None and self.request.admission == self.admission

    @property
    def read_tokens(self) -> int:
        """How many of the common tokens are in its row."""
        return min(self.length, self.request.fed)


def leaders_of(request: Request, running: Iterable[Request]) -> list[Leader]:
    """Those of ``running`` that begin like ``request``, the most alike first."""
    if not request.job.can_reuse:
        return []
    tokens = request.tokens[:-REREAD_TOKENS]
    found = [
        Leader(other, other.admission, length)
        for other in running
        if other.job.can_reuse
        and other.job.adapter == request.job.adapter
        and other.tokens[:LEAST_PREFIX_TOKENS] == tokens[:LEAST_PREFIX_TOKENS]
        and (length := common_length(other.tokens, tokens)) >= LEAST_PREFIX_TOKENS
    ]
    return sorted(found, key=lambda leader: -leader.length)


def first_useful(leaders: Sequence[Leader], fed: int) -> Leader | None:
    """The one that spares most to a request that has ``fed`` tokens in its row: it is ahead, and has enough more."""
    useful = (
        leader
        for leader in leaders
        if leader.is_there and leader.request.fed >= fed and leader.length >= fed + LEAST_PREFIX_TOKENS
    )
    return next(useful, None)
