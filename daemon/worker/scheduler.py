"""Who advances next in one model. No threads, no engine, no clock of its own: every call returns what to tell.

Invariants: requests are admitted strictly in order of arrival; at most ``max_concurrent`` rows are running, and the
reserved tokens of all open rows together never exceed ``cache_tokens``; every accepted request ends with exactly one
Finished or Failed; a row is given back when its request ends; what goes wrong in one row ends only that request.

A request that outgrows its row gets twice the room, in place where the backend can resize rows and there is enough.
Else it gives its row back, waits in front of everybody who came later, and has its tokens read again into a larger one.

One step is one call of the backend: one piece of one prompt, or a token for every row that is generating, or several
for one of them, where they could be guessed. So a cancel waits for one such call at most; a stream pauses for one piece
at most while another prompt is read, and a prompt for the next tokens of every stream; prompts take turns.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable

from daemon.pool.protocol import Accepted, Pulse, ToDaemon
from daemon.worker.backends.base import Backend
from daemon.worker.decoding import Advance, Decoding
from daemon.worker.pace import CALL_S, PrefillPace, bound_between
from daemon.worker.reading import Reading
from daemon.worker.request import Job, Request, too_long
from daemon.worker.rooms import Room, Rooms
from daemon.worker.rows import RowBudget
from daemon.worker.sharing import leaders_of
from registry.errors import GenerationFailed

# No more tokens of a prompt than that are read at once, however fast the model is.
PREFILL_CHUNK_TOKENS = 128
MAX_ITL_MS = 110


class Scheduler:
    """Runs the jobs of one model, interleaved.

    ``kept_rows`` finished sequences stay for prompts that begin like them; 0: none. ``cache_tokens`` is the room of all
    rows together, which is no less than ``context_tokens``, which one request may have, and what one row takes. See
    ``daemon.pool.protocol.Load`` for the others.

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
        kept_rows: int = 0,
        cache_tokens: int = 0,
        max_itl_ms: int = MAX_ITL_MS,
        draft_tokens: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        least_row_tokens = backend.least_room_tokens
        cache_tokens = max(cache_tokens, context_tokens, least_row_tokens)
        self._rooms = Rooms(
            context_tokens=context_tokens,
            cache_tokens=cache_tokens,
            max_concurrent=max_concurrent,
            least_row_tokens=least_row_tokens,
        )
        self._rows = RowBudget(backend, budget_tokens=cache_tokens, kept_rows=kept_rows)
        self._keeps_rows = kept_rows > 0
        self._max_itl_s = max_itl_ms / 1000
        self._clock = clock
        self._reading = Reading(backend, self._rows, PrefillPace(prefill_chunk_tokens), clock=clock)
        self._decoding = Decoding(backend, draft_tokens=draft_tokens, clock=clock)
        self._waiting: deque[Request] = deque()
        self._is_decode_turn = False
        # The next in line found no room, and nobody has left since: looking for it again each step would cost.
        self._is_full = False
        self._arrivals = itertools.count()
        self._admissions = itertools.count()

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not (self._waiting or self._reading.requests or self._decoding.requests)

    @property
    def reserved_tokens(self) -> int:
        """Room of all open rows together, of requests that run and of sequences that are kept."""
        return self._rows.reserved_tokens

    def pulse(self) -> Pulse:
        """What its rows hold, or have room for where that takes the memory."""
        takes_room = not self._backend.can_resize
        running = sorted(self._running(), key=lambda request: request.arrival)
        return Pulse(
            row_tokens=[each.open_row.room_tokens if takes_room else each.fed for each in running],
            kept_tokens=self._rows.kept_tokens,
            reserved_tokens=self._rows.reserved_tokens,
            cache_tokens=self._rooms.cache_tokens,
        )

    def submit(self, job: Job) -> list[ToDaemon]:
        """Queue a job: Accepted, or Failed if its prompt leaves no room for a single token."""
        prompt_tokens = len(job.prompt)
        left = self._rooms.context_tokens - prompt_tokens
        if left < 1:
            return [too_long(job, self._rooms.context_tokens)]
        max_tokens = left if job.max_tokens is None else min(job.max_tokens, left)
        request = Request(
            job=job,
            max_tokens=max_tokens,
            room_tokens=self._rooms.first(prompt_tokens, job.max_tokens),
            least_tokens=self._rooms.least(prompt_tokens, max_tokens),
            tokens=list(job.prompt),
            arrival=next(self._arrivals),
            submitted_at=self._clock(),
        )
        self._waiting.append(request)
        return [Accepted(job.request_id, prompt_tokens)]

    def cancel(self, request_id: str) -> list[ToDaemon]:
        """End a request wherever it is; nothing if it is not known or has ended."""
        for request in (*self._waiting, *self._running()):
            if request.job.request_id == request_id:
                return self._finish(request, "cancelled")
        return []

    def step(self) -> list[ToDaemon]:
        """One call of the backend, and what came of it."""
        events = self._admit()
        if self._decoding.requests and (self._is_decode_turn or not self._reading.requests):
            for advance in self._decoding.step():
                events += self._settled(advance)
            self._is_decode_turn = self._decoding.is_between_rows
        elif self._reading.requests:
            self._is_decode_turn = True
            events += self._read()
        return events

    def _running(self) -> list[Request]:
        return [*self._reading.requests, *self._decoding.requests]

    def _admit(self) -> list[ToDaemon]:
        """Open rows for those who waited longest, as long as the next in line fits."""
        events: list[ToDaemon] = []
        while self._waiting and not self._is_full and len(self._running()) < self._rooms.max_concurrent:
            request = self._waiting[0]
            job = request.job
            try:
                row = self._rows.open(request.tokens, self._room(request), adapter=job.adapter, can_reuse=job.can_reuse)
            except GenerationFailed as error:
                events += self._fail(request, error)
                continue
            if row is None:
                self._is_full = True
                break
            self._waiting.popleft()
            request.row, request.fed, request.admission = row, row.held_tokens, next(self._admissions)
            request.leaders = leaders_of(request, self._running()) if self._backend.can_copy else []
            self._reading.requests.append(request)
            if request.admitted_at is None:
                request.admitted_at = self._clock()
                request.cached_tokens = row.held_tokens
        return events

    def _room(self, request: Request) -> Room:
        """What the next in line gets."""
        tokens, least_tokens = request.room_tokens, request.least_tokens
        if not self._keeps_rows or request.generated:
            return Room(tokens=tokens, least_tokens=least_tokens, most_tokens=2 * tokens)
        return self._rooms.with_next_turn(
            tokens,
            least_tokens,
            running_tokens=self._rows.running_tokens,
            running_rows=len(self._running()),
            is_last=len(self._waiting) == 1,
        )

    def _read(self) -> list[ToDaemon]:
        is_alone = not self._decoding.requests
        bound_s = CALL_S if is_alone else bound_between(self._decoding.step_s, self._max_itl_s)
        request = self._reading.next()
        try:
            logits = self._reading.read(request, bound_s=bound_s, whole_s=bound_between(None, self._max_itl_s))
        except GenerationFailed as error:
            return self._fail(request, error)
        return [] if logits is None else self._settled(self._decoding.first(request, logits))

    def _settled(self, advance: Advance) -> list[ToDaemon]:
        """What there is to tell of a call, after drawing the consequences."""
        request, shown = advance.request, list(advance.shown)
        if advance.is_row_lost:
            request.fed = 0
        if advance.error is not None:
            return shown + self._fail(request, advance.error)
        if advance.reason is not None:
            return shown + self._finish(request, advance.reason)
        row = request.open_row
        if advance.is_row_lost:
            self._move(request, row.room_tokens)
        elif len(request.tokens) > row.room_tokens:
            self._outgrow(request)
        return shown

    def _outgrow(self, request: Request) -> None:
        """More room, at once unless somebody who came earlier waits for it."""
        row = request.open_row
        room_tokens = min(self._rooms.rounded(2 * row.room_tokens), self._whole(request))
        is_next = all(waiting.arrival > request.arrival for waiting in self._waiting)
        grown = self._rows.grown(row, room_tokens) if is_next else None
        if grown is None:
            self._move(request, room_tokens)
        else:
            request.row = grown

    def _whole(self, request: Request) -> int:
        """Room for all that it may come to."""
        return self._rooms.rounded(len(request.job.prompt) + request.max_tokens)

    def _move(self, request: Request, room_tokens: int) -> None:
        """Back to the queue, for a row with so much room. Holding nothing while it waits, it cannot block others."""
        row = request.open_row
        self._leave(request)
        if request.job.can_reuse:
            self._rows.outgrow(row, request.tokens[: request.fed])
        else:
            self._rows.close(row)
        request.row, request.fed = None, 0
        request.room_tokens = min(max(request.room_tokens, room_tokens), self._whole(request))
        request.least_tokens = request.room_tokens
        self._waiting.append(request)
        self._waiting = deque(sorted(self._waiting, key=lambda waiting: waiting.arrival))

    def _finish(self, request: Request, reason: str) -> list[ToDaemon]:
        self._leave(request)
        row, request.row = request.row, None
        if row is not None and request.job.can_reuse:
            self._rows.keep(row, request.tokens[: request.fed])
        elif row is not None:
            self._rows.close(row)
        return request.end(reason, self._clock())

    def _fail(self, request: Request, error: GenerationFailed) -> list[ToDaemon]:
        self._leave(request)
        row, request.row = request.row, None
        if row is not None:
            self._rows.close(row)
        return request.fail(error)

    def _leave(self, request: Request) -> None:
        self._is_full = False
        self._reading.remove(request)
        self._decoding.remove(request)
        if request in self._waiting:
            self._waiting.remove(request)
