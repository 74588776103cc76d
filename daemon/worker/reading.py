"""The prompts that are being read, in pieces and in turn.

Invariant: a prompt that is read elsewhere, too, is not read twice: see ``daemon.worker.sharing``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from daemon.worker.backends.base import Backend
from daemon.worker.pace import PrefillPace
from daemon.worker.prefix_cache import LEAST_PREFIX_TOKENS
from daemon.worker.request import Request
from daemon.worker.rows import RowBudget
from daemon.worker.sampling import Logits
from daemon.worker.sharing import first_useful


class Reading:
    """``pace`` says how much is read in one call."""

    def __init__(self, backend: Backend, rows: RowBudget, pace: PrefillPace, *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._rows = rows
        self._pace = pace
        self._clock = clock
        self.requests: deque[Request] = deque()

    def remove(self, request: Request) -> None:
        """Nothing more for a request, which need not be here."""
        if request in self.requests:
            self.requests.remove(request)

    def next(self) -> Request:
        """Whose turn it is; there must be one. Those that wait for what is read for another keep their place."""
        return next((request for request in self.requests if not _is_waiting(request)), self.requests[0])

    def read(self, request: Request, *, bound_s: float, whole_s: float) -> Logits | None:
        """The next piece of its tokens into its row, in about ``bound_s`` at most, or all where ``whole_s`` is enough.

        The logits of the last one, with which its turns are over; None: there are more to come.
        Raises GenerationFailed.
        """
        self.requests.remove(request)
        self._begin_with_copy(request)
        logits = self._read_piece(request, bound_s, whole_s)
        if request.fed < len(request.tokens):
            self.requests.append(request)
            return None
        return logits

    def _read_piece(self, request: Request, bound_s: float, whole_s: float) -> Logits:
        row, prefill = request.open_row.number, request.job.prefill
        if prefill is not None and not request.fed:
            request.fed = len(request.job.prompt)
            return prefill(row)
        left_tokens = len(request.tokens) - request.fed
        is_short = request.fed == request.cached_tokens and self._pace.piece(left_tokens, whole_s) == left_tokens
        size = left_tokens if is_short else self._pace.piece(left_tokens, bound_s)
        started = self._clock()
        logits = self._backend.extend(row, request.tokens[request.fed : request.fed + size])
        self._pace.record(size, self._clock() - started)
        request.fed += size
        return logits

    def _begin_with_copy(self, request: Request) -> None:
        """Take over what others have read since it was admitted."""
        leader = first_useful(request.leaders, request.fed)
        if leader is not None:
            self._copy(request, leader.request.open_row.number, leader.read_tokens)
        elif not all(leader.is_there for leader in request.leaders):
            # Perhaps the one who was ahead has left its row behind.
            match = self._rows.held_elsewhere(request.tokens, request.job.adapter)
            if match is not None and match.length >= request.fed + LEAST_PREFIX_TOKENS:
                self._copy(request, match.kept.number, match.length)
        request.leaders = [each for each in request.leaders if each.is_there and each is not leader]

    def _copy(self, request: Request, number: int, length: int) -> None:
        row, request.row = request.open_row, None
        request.row = self._rows.begin_with(row, number, length)
        request.fed = request.row.held_tokens
        if not request.fed:  # it failed, and is not tried again
            request.leaders = []
        if not request.generated:
            request.cached_tokens = request.fed


def _is_waiting(request: Request) -> bool:
    leader = first_useful(request.leaders, request.fed)
    return leader is not None and leader.read_tokens < leader.length
