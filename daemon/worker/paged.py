"""Who is served when the library's engine batches by itself: requests wait here in order, and end here.

Invariants: at most ``max_concurrent`` answers are in the engine; every accepted request ends with exactly one Finished
or Failed, and its answer is closed then.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable

from daemon.pool.protocol import Accepted, Failed, Pulse, ToDaemon
from daemon.worker.backends.turns import TurnEvent, Turns
from daemon.worker.request import Job, Request, too_long
from registry.errors import GenerationFailed, UnsupportedParameter


class PagedScheduler:
    """Runs the jobs of one model as turns of its engine, which also samples.

    What only a sampler outside can do is refused.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        context_tokens: int,
        max_concurrent: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = turns
        self._context_tokens = context_tokens
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._arrivals = itertools.count()

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not (self._waiting or self._running)

    def pulse(self) -> Pulse:
        """The engine keeps its cache to itself."""
        return Pulse()

    def submit(self, job: Job) -> list[ToDaemon]:
        """Queue a job: Accepted, or Failed for one that cannot be run."""
        left = self._context_tokens - len(job.prompt)
        if left < 1:
            return [too_long(job, self._context_tokens)]
        refused = _unsupported(job)
        if refused is not None:
            message = f"{refused} cannot be used with this model: its engine samples by itself. Leave it out."
            code = UnsupportedParameter.code
            return [Failed(request_id=job.request_id, code=code, message=message, param=refused)]
        max_tokens = left if job.max_tokens is None else min(job.max_tokens, left)
        request = Request(
            job=job,
            max_tokens=max_tokens,
            room_tokens=len(job.prompt) + max_tokens,
            least_tokens=len(job.prompt) + max_tokens,
            tokens=list(job.prompt),
            arrival=next(self._arrivals),
            submitted_at=self._clock(),
        )
        self._waiting.append(request)
        return [Accepted(job.request_id, len(job.prompt))]

    def cancel(self, request_id: str) -> list[ToDaemon]:
        """End a request wherever it is; nothing if it is not known or has ended."""
        for request in self._waiting:
            if request.job.request_id == request_id:
                self._waiting.remove(request)
                return request.end("cancelled", self._clock())
        for turn, request in self._running.items():
            if request.job.request_id == request_id:
                return self._finish(turn, "cancelled")
        return []

    def step(self) -> list[ToDaemon]:
        """One step of the engine, and what came of it."""
        events = self._admit()
        if not self._running:
            return events
        try:
            happened = self._turns.run()
        except GenerationFailed as error:
            return events + [event for turn in list(self._running) for event in self._fail(turn, error)]
        return events + [told for event in happened if event.turn in self._running for told in self._tell(event)]

    def _admit(self) -> list[ToDaemon]:
        events: list[ToDaemon] = []
        while self._waiting and len(self._running) < self._max_concurrent:
            request = self._waiting.popleft()
            sampler = request.job.sampler
            try:
                turn = self._turns.start(
                    request.tokens, sampler.sampling, max_tokens=request.max_tokens, min_tokens=sampler.min_tokens
                )
            except GenerationFailed as error:
                events += request.fail(error)
                continue
            self._running[turn] = request
            request.admitted_at = self._clock()
        return events

    def _tell(self, event: TurnEvent) -> list[ToDaemon]:
        request = self._running[event.turn]
        if event.error is not None:
            return self._fail(event.turn, GenerationFailed(f"The engine gave this request up: {event.error}."))
        request.cached_tokens = event.cached_tokens
        shown: list[ToDaemon] = []
        reason = event.reason
        if event.token is not None:
            shown, ended = request.take(event.token, self._clock())
            reason = ended or reason
        return shown if reason is None else shown + self._finish(event.turn, reason)

    def _finish(self, turn: int, reason: str) -> list[ToDaemon]:
        request = self._running.pop(turn)
        self._turns.close(turn)
        return request.end(reason, self._clock())

    def _fail(self, turn: int, error: GenerationFailed) -> list[ToDaemon]:
        request = self._running.pop(turn)
        self._turns.close(turn)
        return request.fail(error)


def _unsupported(job: Job) -> str | None:
    """The first parameter of a job that the engine cannot honour."""
    sampling = job.sampler.sampling
    asked = {
        "logit_bias": sampling.logit_bias,
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logprobs": job.logprobs,
        "response_format": job.sampler.has_constraint,
        "model": job.adapter,
    }
    return next((name for name, value in asked.items() if value), None)
