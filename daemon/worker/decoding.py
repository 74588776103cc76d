"""The rows that generate: one token for each in one call, or several for one where they could be guessed.

Invariants: between two calls a row holds all tokens of its request but the last; a request's tokens, its random stream
and its form are those it would have without guesses, since each token is picked, in order, from logits of its place.

Up to the numbers, that is: several tokens go through other kernels than one (int4 weights on CPU). Against single
decoding the distance between the two likeliest tokens was off by 0.03 (standard deviation; 0.11 at most, in 240 places
of two models). So a greedy choice closer than ``TIE_MARGIN`` is taken again from a single call. What the draft has left
in the cache is off as much, as are the pieces of a prompt, and cannot be told from what a second turn would find there.
With fp32 weights no logit was off by more than 7e-6 (in 432 places of two models).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from daemon.pool.protocol import ToDaemon
from daemon.worker.backends.base import Backend
from daemon.worker.call_times import CallTimes
from daemon.worker.drafts import Guess, PromptLookup, worth_checking
from daemon.worker.request import Request
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed

TIE_MARGIN = 0.125
# With more rows, one call for all of them has always been faster.
MOST_DRAFTING_ROWS = 4
# What the times that argue against a draft lose each time.
_FADED = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What became of a request in a call: what to show, and why it ends, if it does.

    ``is_row_lost``: its row is of no use any more, whatever became of the request.
    """

    request: Request
    shown: Sequence[ToDaemon] = field(default_factory=list)
    reason: str | None = None
    error: GenerationFailed | None = None
    is_row_lost: bool = False


class Decoding:
    """``draft_tokens`` may be guessed and checked at once, where that is measured to be faster; 0: none."""

    def __init__(self, backend: Backend, *, draft_tokens: int, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._draft_tokens = draft_tokens if backend.can_verify else 0
        self._clock = clock
        self._step_times = CallTimes()
        self._check_times = CallTimes()
        self._drafts: deque[tuple[Request, Sequence[int]]] = deque()
        self.requests: list[Request] = []

    @property
    def step_s(self) -> float | None:
        """What a call for all rows takes that generate now; None before any was measured."""
        return self._step_times.of(len(self.requests))

    @property
    def is_between_rows(self) -> bool:
        """True while some rows have had their call and others wait for theirs."""
        return bool(self._drafts)

    def remove(self, request: Request) -> None:
        """Nothing more for a request, which need not be here."""
        if request in self.requests:
            self.requests.remove(request)
            self._drafts = deque(entry for entry in self._drafts if entry[0] is not request)

    def step(self) -> list[Advance]:
        """One call of the backend."""
        if not self._drafts:
            self._drafts.extend(self._new_drafts())
        return [self._check(*self._drafts.popleft())] if self._drafts else self._decode()

    def first(self, request: Request, logits: Logits) -> Advance:
        """The first token of a request whose prompt has been read; if it does not end with it, it generates now."""
        advance = self._take(request, logits)
        if advance.reason is None and advance.error is None:
            self.requests.append(request)
        return advance

    def _decode(self) -> list[Advance]:
        requests = list(self.requests)
        started = self._clock()
        results = self._backend.decode([(request.open_row.number, request.tokens[-1]) for request in requests])
        self._step_times.record(len(requests), self._clock() - started)
        advances: list[Advance] = []
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, GenerationFailed):
                advances.append(Advance(request=request, error=result))
            else:
                request.fed += 1
                advances.append(self._take(request, result))
        return advances

    def _take(self, request: Request, logits: Logits) -> Advance:
        try:
            token = request.job.sampler.pick(logits)
        except GenerationFailed as error:
            return Advance(request=request, error=error)
        shown, reason = request.take(token, self._clock(), logits)
        return Advance(request=request, shown=shown, reason=reason)

    def _new_drafts(self) -> list[tuple[Request, Sequence[int]]]:
        """A draft for every row, if all of them gain by it."""
        if not self._draft_tokens or len(self.requests) > MOST_DRAFTING_ROWS:
            return []
        guesses = [self._guess(request) for request in self.requests]
        if not all(guess.tokens for guess in guesses):
            return []
        lengths = worth_checking(guesses, self.step_s, self._check_s)
        if not lengths:
            self._check_times.fade(_FADED)
            return []
        drafts = [guess.tokens[:length] for guess, length in zip(guesses, lengths, strict=True)]
        return list(zip(self.requests, drafts, strict=True))

    def _guess(self, request: Request) -> Guess:
        """What may be checked of what comes next: as much as there is room for, and no end, which needs no check."""
        if request.lookup is None:
            request.lookup = PromptLookup(self._draft_tokens)
        guess = request.lookup.guess(request.tokens)
        room = request.open_row.room_tokens - len(request.tokens)
        length = max(0, min(room, request.max_tokens - request.generated - 1, len(guess.tokens)))
        ends = (place for place, token in enumerate(guess.tokens[:length]) if token in request.job.end_ids)
        return guess.cut(len(request.job.sampler.fitting(guess.tokens[: next(ends, length)])))

    def _check_s(self, tokens: int) -> float | None:
        """As many rows with one token each are a guess, until it was measured."""
        measured = self._check_times.of(tokens)
        return self._step_times.of(tokens) if measured is None else measured

    def _check(self, request: Request, draft: Sequence[int]) -> Advance:
        """Go on by as many tokens of ``draft`` as the model says itself, and by one more."""
        row = request.open_row.number
        started = self._clock()
        try:
            logits = self._backend.verify(row, [request.tokens[-1], *draft])
        except GenerationFailed as error:
            return Advance(request=request, error=error)
        self._check_times.record(len(draft) + 1, self._clock() - started)
        held_tokens = request.fed + 1 + len(draft)
        advance = self._taken_of(request, draft, logits)
        if request.fed == held_tokens or advance.error is not None:
            return advance
        try:
            self._backend.rewind(row, request.fed)
        except GenerationFailed:
            self._draft_tokens = 0
            return replace(advance, is_row_lost=True)
        return advance

    def _taken_of(self, request: Request, draft: Sequence[int], logits: Logits) -> Advance:
        """Pick tokens as long as they are those of ``draft``; then the row is to hold ``request.fed`` tokens."""
        shown: list[ToDaemon] = []
        reason: str | None = None
        chosen, is_close = 0, False
        request.fed += 1
        for place in range(len(draft) + 1):
            try:
                token = request.job.sampler.pick_clear(logits[place], TIE_MARGIN)
            except GenerationFailed as error:
                return Advance(request=request, shown=shown, error=error)
            if token is None:
                is_close = True
                request.fed -= 1
                break
            chosen += 1
            more, reason = request.take(token, self._clock(), logits[place])
            shown += more
            is_guessed = place < len(draft) and token == draft[place]
            request.fed += is_guessed
            if reason is not None or not is_guessed:
                break
        if request.lookup is not None:
            request.lookup.record_close(chosen, is_close=is_close)
        return Advance(request=request, shown=shown, reason=reason)
