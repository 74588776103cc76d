"""Speech to text: requests take turns, one call of the engine each, window by window. No threads, no native library.

Invariants: at most ``max_concurrent`` windows are in work; every accepted request ends with exactly one Finished or
Failed, and its row is closed then.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from daemon.pool.protocol import Accepted, Cancel, Delta, Finished, Pulse, ToDaemon, ToWorker, Transcribe
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.served import failed, refused
from daemon.worker.text import Detokenizer, TextDecoder
from daemon.worker.transcription.audio import windows
from daemon.worker.transcription.listener import Listener
from daemon.worker.transcription.vocabulary import ENGLISH, PREVIOUS, START, Vocabulary
from registry.errors import GenerationFailed, InvalidRequest, SlmregError


class Tokenizer(TextDecoder, Protocol):
    def encode(self, text: str) -> list[int]: ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """``left`` are the windows to come; ``row`` has heard the one in work, ``tokens`` are its text so far.

    ``budget`` is how many more tokens the request may have. Times are the clock's.
    """

    request: Transcribe
    left: deque[bytes]
    prompt: list[int]
    sampler: Sampler
    text: Detokenizer
    budget: int
    submitted_at: float
    language: str | None
    begun_at: float | None = None
    first_token_at: float | None = None
    row: int | None = None
    tokens: list[int] = field(default_factory=list)
    generated: int = 0
    is_first: bool = True

    @property
    def id(self) -> str:
        return self.request.request_id


class TranscriptionEngine:
    """A ``daemon.worker.served.ServedModel`` that answers Transcribe.

    ``context_tokens`` is the decoder's: half of it can be a prompt, and half the text of one window.
    """

    def __init__(
        self,
        listener: Listener,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        *,
        end_ids: frozenset[int],
        context_tokens: int,
        max_concurrent: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_ids = end_ids
        self._added = frozenset(vocabulary.added.values())
        self._speechless = np.array(sorted(vocabulary.speechless(end_ids)), np.intp)
        self._context_tokens = context_tokens
        self._half_context = context_tokens // 2
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._jobs: deque[_Job] = deque()

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def pulse(self) -> Pulse:
        return Pulse()

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        match message:
            case Transcribe():
                return self._submit(message)
            case Cancel(request_id):
                job = next((job for job in self._jobs if job.id == request_id), None)
                return self._finish(job, "cancelled") if job is not None else []
            case _:
                return refused(message, "writes down speech")

    def step(self) -> list[ToDaemon]:
        """One window heard, or one more token of a window, of the request whose turn it is."""
        if not self._jobs:
            return []
        job = self._jobs[0]
        try:
            events = self._begin_window(job) if job.row is None else self._advance(job)
        except SlmregError as error:
            self._remove(job)
            return [failed(job.id, error)]
        self._next_turn(job)
        return events

    def _next_turn(self, job: _Job) -> None:
        """Behind the others that are in work, and before those that still wait."""
        if self._jobs and self._jobs[0] is job:
            self._jobs.popleft()
            self._jobs.insert(min(len(self._jobs), self._max_concurrent - 1), job)

    # -- from a request to its first window

    def _submit(self, request: Transcribe) -> list[ToDaemon]:
        try:
            self._vocabulary.require(request.language, request.task)
            left = deque(windows(_decoded(request.audio)))
            prompt = self._prompt(request.prompt)
        except SlmregError as error:
            return [failed(request.request_id, error)]
        except Exception as error:  # one odd file must not end the others
            message = f"The audio could not be read: {type(error).__name__}. Save it as a WAV file with 16 bits."
            return [failed(request.request_id, InvalidRequest(message, param="file"))]
        most = len(left) * self._half_context
        job = _Job(
            request=request,
            left=left,
            prompt=prompt,
            sampler=Sampler(SamplingParams(temperature=request.temperature or 0.0)),
            text=Detokenizer(self._tokenizer),
            budget=most if request.max_tokens is None else min(request.max_tokens, most),
            submitted_at=self._clock(),
            language=request.language if self._vocabulary.is_multilingual else ENGLISH,
        )
        self._jobs.append(job)
        return [Accepted(request.request_id, self._prompt_tokens(job))]

    def _prompt(self, text: str) -> list[int]:
        """The end of what the speech goes on from; special tokens in it are none of the client's business."""
        if not text.strip():
            return []
        ids = [token for token in self._tokenizer.encode(f" {text.strip()}") if token not in self._added]
        return ids[-(self._half_context - 1) :]

    def _prompt_tokens(self, job: _Job) -> int:
        orders = self._vocabulary.orders(job.language or ENGLISH, job.request.task)
        return 1 + len(orders) + (1 + len(job.prompt) if job.prompt else 0)

    def _begin_window(self, job: _Job) -> list[ToDaemon]:
        if job.begun_at is None:
            job.begun_at = self._clock()
        job.row, logits = self._listener.hear(job.left.popleft(), PREVIOUS if job.prompt else START)
        if job.prompt:
            logits = self._listener.extend(job.row, [*job.prompt, self._vocabulary.added[START]])
        if job.language is None:
            job.language = self._heard_language(logits)
        orders = self._vocabulary.orders(job.language, job.request.task)
        if orders:
            logits = self._listener.extend(job.row, orders)
        job.tokens.clear()
        return self._take(job, logits)

    def _heard_language(self, logits: Logits) -> str:
        return max(self._vocabulary.languages, key=lambda code: float(logits[self._vocabulary.languages[code]]))

    # -- from token to token

    def _advance(self, job: _Job) -> list[ToDaemon]:
        if job.row is None:
            raise GenerationFailed("A window was lost.")
        return self._take(job, self._listener.extend(job.row, job.tokens[-1:]))

    def _take(self, job: _Job, logits: Logits) -> list[ToDaemon]:
        token = job.sampler.pick(self._spoken(logits))
        if job.first_token_at is None:
            job.first_token_at = self._clock()
        job.generated += 1
        if token in self._end_ids:
            return self._end_window(job)
        job.tokens.append(token)
        events = self._delta(job, job.text.push(token), 1)
        if job.generated >= job.budget:
            return events + self._finish(job, "length")
        return events + (self._end_window(job) if self._is_full(job) else [])

    def _is_full(self, job: _Job) -> bool:
        """A text that goes on for so long goes round in circles."""
        room = self._context_tokens - self._prompt_tokens(job) - 1
        return len(job.tokens) >= min(self._half_context, room)

    def _spoken(self, logits: Logits) -> Logits:
        """Without what is neither text nor an end: times, tasks, languages."""
        spoken = logits.copy()
        spoken[self._speechless[self._speechless < len(spoken)]] = -np.inf
        return spoken

    def _end_window(self, job: _Job) -> list[ToDaemon]:
        if not job.left:
            return self._finish(job, "stop")
        events = self._delta(job, job.text.flush(), 0)
        self._close(job)
        return events

    def _delta(self, job: _Job, text: str, tokens: int) -> list[ToDaemon]:
        """Whisper's words begin with a space, the first one too."""
        if job.is_first:
            text = text.lstrip()
            job.is_first = not text
        return [Delta(job.id, text, tokens)] if text else []

    # -- ends

    def _finish(self, job: _Job, reason: str) -> list[ToDaemon]:
        now, first_at, begun_at = self._clock(), job.first_token_at, job.begun_at
        self._remove(job)
        finished = Finished(
            request_id=job.id,
            finish_reason=reason,
            prompt_tokens=self._prompt_tokens(job),
            completion_tokens=job.generated,
            queue_s=(now if begun_at is None else begun_at) - job.submitted_at,
            ttft_s=0.0 if first_at is None else first_at - job.submitted_at,
            decode_s=0.0 if first_at is None else now - first_at,
        )
        return [*self._delta(job, job.text.flush(), 0), finished]

    def _remove(self, job: _Job) -> None:
        self._jobs.remove(job)
        self._close(job)

    def _close(self, job: _Job) -> None:
        if job.row is not None:
            self._listener.close(job.row)
            job.row = None


def _decoded(audio: str) -> bytes:
    """Raises InvalidRequest."""
    try:
        return base64.b64decode(audio, validate=True)
    except binascii.Error as error:
        raise InvalidRequest("The audio is not base64.", param="file") from error
