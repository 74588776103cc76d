"""Who advances next in one model. No threads, no engine, no clock of its own: every call returns what to tell.

Invariants: requests are admitted strictly in order of arrival; at most ``max_concurrent`` rows are open, and their
reserved tokens together never exceed ``context_tokens``; every accepted request ends with exactly one Finished or
Failed; a row is closed when its request ends; what goes wrong in one row ends only that request.

A row cannot grow, and most clients do not say how long their answer may get. Such a request starts with an equal share
of the context, so that others can run beside it. One that outgrows its row gives it back, waits in front of everybody
who came later, and has its tokens read again into a row of twice the room.

One step is one call of the backend, either one prompt chunk of one row or one token for every row that is generating,
in turn. So a cancel waits for one such call at most, a stream pauses for one chunk at most while another prompt is
read, and prompts that are read at the same time take turns.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, ToDaemon
from daemon.worker.backends.base import Backend
from daemon.worker.sampling import Logits, Sampler
from daemon.worker.text import AnswerText
from registry.errors import ContextLengthExceeded, GenerationFailed

# One chunk of a 0.5B model takes 0.6 s on 2 cores; smaller ones use the cores worse, larger ones stall other streams.
PREFILL_CHUNK_TOKENS = 128
# Reserved room is rounded up to this, so that a backend sees few different sizes.
ROOM_STEP_TOKENS = 256
# Room for an answer of unknown length behind a prompt that takes more than half of its share of the context.
FIRST_ANSWER_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request, ready to run. ``max_tokens`` None: to the end of the context. ``end_ids`` end the answer.

    ``adapter`` is the LoRA adapter that the model is to have on. ``prefill`` reads the whole prompt into an empty row,
    in one call, where that takes more than its tokens: pictures. Such a row holds more than its tokens tell.
    """

    request_id: str
    prompt: Sequence[int]
    max_tokens: int | None
    end_ids: frozenset[int]
    sampler: Sampler
    text: AnswerText
    adapter: str | None = None
    prefill: Callable[[int], Logits] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    """A job on its way. Times are the clock's.

    ``tokens`` are the prompt and the answer so far, of which the first ``prefilled`` are in the row; ``generated``
    counts every sampled token, ``unreported`` those without a delta so far.
    """

    job: Job
    max_tokens: int
    room_tokens: int
    tokens: list[int]
    arrival: int
    submitted_at: float
    admitted_at: float | None = None
    first_token_at: float | None = None
    row: int | None = None
    prefilled: int = 0
    generated: int = 0
    unreported: int = 0


class Scheduler:
    """Runs the jobs of one model, interleaved.

    Times in Finished: ``queue_s`` from submission to admission, ``ttft_s`` from submission to the first token (0 if
    there was none), ``decode_s`` from the first token to the end. ``completion_tokens`` counts every sampled token, the
    end-of-sequence token included; the tokens of the deltas add up to those whose text was shown.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        context_tokens: int,
        max_concurrent: int,
        prefill_chunk_tokens: int = PREFILL_CHUNK_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._context_tokens = context_tokens
        self._max_concurrent = max_concurrent
        self._chunk_tokens = prefill_chunk_tokens
        self._clock = clock
        self._waiting: deque[_Request] = deque()
        self._prefilling: deque[_Request] = deque()
        self._decoding: list[_Request] = []
        self._is_decode_turn = False
        self._arrivals = itertools.count()

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not (self._waiting or self._prefilling or self._decoding)

    @property
    def reserved_tokens(self) -> int:
        """Room of all open rows together."""
        return sum(request.room_tokens for request in self._active())

    def submit(self, job: Job) -> list[ToDaemon]:
        """Queue a job: Accepted, or Failed if its prompt leaves no room for a single token."""
        prompt_tokens = len(job.prompt)
        left = self._context_tokens - prompt_tokens
        if left < 1:
            error = ContextLengthExceeded(prompt_tokens, self._context_tokens)
            failed = Failed(
                request_id=job.request_id,
                code=error.code,
                message=error.message,
                prompt_tokens=prompt_tokens,
                context_tokens=self._context_tokens,
            )
            return [failed]
        max_tokens = left if job.max_tokens is None else min(job.max_tokens, left)
        room = prompt_tokens + max_tokens
        if job.max_tokens is None:
            share = self._context_tokens // self._max_concurrent
            room = min(room, share if 2 * prompt_tokens <= share else prompt_tokens + FIRST_ANSWER_TOKENS)
        request = _Request(
            job=job,
            max_tokens=max_tokens,
            room_tokens=self._rounded(room),
            tokens=list(job.prompt),
            arrival=next(self._arrivals),
            submitted_at=self._clock(),
        )
        self._waiting.append(request)
        return [Accepted(job.request_id, prompt_tokens)]

    def cancel(self, request_id: str) -> list[ToDaemon]:
        """End a request wherever it is; nothing if it is not known or has ended."""
        for request in (*self._waiting, *self._active()):
            if request.job.request_id == request_id:
                return self._finish(request, "cancelled")
        return []

    def step(self) -> list[ToDaemon]:
        """One call of the backend, and what came of it."""
        events = self._admit()
        if self._decoding and (self._is_decode_turn or not self._prefilling):
            self._is_decode_turn = False
            return events + self._decode()
        if self._prefilling:
            self._is_decode_turn = True
            return events + self._prefill(self._prefilling[0])
        return events

    def _rounded(self, tokens: int) -> int:
        return min(-(-tokens // ROOM_STEP_TOKENS) * ROOM_STEP_TOKENS, self._context_tokens)

    def _active(self) -> tuple[_Request, ...]:
        return (*self._prefilling, *self._decoding)

    def _admit(self) -> list[ToDaemon]:
        """Open rows for those who waited longest, as long as the next in line fits."""
        events: list[ToDaemon] = []
        while self._waiting and len(self._active()) < self._max_concurrent:
            request = self._waiting[0]
            if self.reserved_tokens + request.room_tokens > self._context_tokens:
                break
            try:
                request.row = self._backend.open(request.room_tokens, request.job.adapter)
            except GenerationFailed as error:
                events += self._fail(request, error)
                continue
            self._waiting.popleft()
            self._prefilling.append(request)
            if request.admitted_at is None:
                request.admitted_at = self._clock()
        return events

    def _prefill(self, request: _Request) -> list[ToDaemon]:
        try:
            logits = self._read_more(request)
        except GenerationFailed as error:
            return self._fail(request, error)
        self._prefilling.popleft()
        if request.prefilled < len(request.tokens):
            self._prefilling.append(request)
            return []
        self._decoding.append(request)
        return self._take(request, logits)

    def _read_more(self, request: _Request) -> Logits:
        """The next chunk of its tokens into its row. Raises GenerationFailed."""
        row, prefill = _row(request), request.job.prefill
        if prefill is not None and not request.prefilled:
            request.prefilled = len(request.job.prompt)
            return prefill(row)
        chunk = request.tokens[request.prefilled : request.prefilled + self._chunk_tokens]
        request.prefilled += len(chunk)
        return self._backend.extend(row, chunk)

    def _decode(self) -> list[ToDaemon]:
        requests = list(self._decoding)
        results = self._backend.decode([(_row(request), request.tokens[-1]) for request in requests])
        events: list[ToDaemon] = []
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, GenerationFailed):
                events += self._fail(request, result)
            else:
                events += self._take(request, result)
        return events

    def _take(self, request: _Request, logits: Logits) -> list[ToDaemon]:
        """Sample the next token of a row and say what it means for its request."""
        try:
            token = request.job.sampler.pick(logits)
        except GenerationFailed as error:
            return self._fail(request, error)
        if request.first_token_at is None:
            request.first_token_at = self._clock()
        request.generated += 1
        if token in request.job.end_ids:
            return self._finish(request, "stop")
        request.tokens.append(token)
        request.unreported += 1
        delta = self._delta(request, request.job.text.push(token))
        if request.job.text.is_stopped:
            return delta + self._finish(request, "stop")
        if request.generated >= request.max_tokens:
            return delta + self._finish(request, "length")
        if len(request.tokens) > request.room_tokens:
            self._outgrow(request)
        return delta

    def _outgrow(self, request: _Request) -> None:
        """Back to the queue, for a row of twice the room. Holding nothing while it waits, it cannot block others."""
        self._remove(request)
        request.row = None
        request.prefilled = 0
        request.room_tokens = self._rounded(2 * request.room_tokens)
        self._waiting.append(request)
        self._waiting = deque(sorted(self._waiting, key=lambda waiting: waiting.arrival))

    def _delta(self, request: _Request, text: str) -> list[ToDaemon]:
        if not text:
            return []
        tokens, request.unreported = request.unreported, 0
        return [Delta(request.job.request_id, text, tokens)]

    def _finish(self, request: _Request, reason: str) -> list[ToDaemon]:
        now = self._clock()
        first_token_at = request.first_token_at
        admitted_at = now if request.admitted_at is None else request.admitted_at
        finished = Finished(
            request_id=request.job.request_id,
            finish_reason=reason,
            prompt_tokens=len(request.job.prompt),
            completion_tokens=request.generated,
            queue_s=admitted_at - request.submitted_at,
            ttft_s=0.0 if first_token_at is None else first_token_at - request.submitted_at,
            decode_s=0.0 if first_token_at is None else now - first_token_at,
        )
        self._remove(request)
        return [*self._delta(request, request.job.text.flush()), finished]

    def _fail(self, request: _Request, error: GenerationFailed) -> list[ToDaemon]:
        self._remove(request)
        return [Failed(request_id=request.job.request_id, code=error.code, message=error.message)]

    def _remove(self, request: _Request) -> None:
        for queue in (self._waiting, self._prefilling, self._decoding):
            if request in queue:
                queue.remove(request)
        if request.row is not None:
            self._backend.close(request.row)


def _row(request: _Request) -> int:
    if request.row is None:
        raise RuntimeError(f"request {request.job.request_id} has no row")
    return request.row
