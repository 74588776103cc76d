"""What a request asks of the scheduler, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daemon.pool.protocol import Delta, Failed, Finished, ToDaemon, TokenLogprob
from daemon.worker.answer import AnswerText, Pieces
from daemon.worker.drafts import PromptLookup
from daemon.worker.logprobs import Logprobs
from daemon.worker.rows import Row
from daemon.worker.sampling import Logits, Sampler
from daemon.worker.vision.sight import Prefill
from registry.errors import ContextLengthExceeded, SlmregError

if TYPE_CHECKING:
    from daemon.worker.sharing import Leader


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request, ready to run. ``max_tokens`` None: to the end of the context. ``end_ids`` end the answer.

    ``adapter`` is the LoRA adapter to run with. ``can_reuse``: the tokens alone say what is read, so that a row may be
    used for another prompt that begins with the same ones. ``prefill`` reads the whole prompt into an empty row, in one
    call, where that takes more than its tokens: pictures. ``logprobs`` None: none are told.
    """

    request_id: str
    prompt: Sequence[int]
    max_tokens: int | None
    end_ids: frozenset[int]
    sampler: Sampler
    text: AnswerText
    adapter: str | None = None
    can_reuse: bool = True
    prefill: Prefill | None = None
    logprobs: Logprobs | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A job on its way. Times are the clock's.

    ``room_tokens`` is what it asks of a new row, ``least_tokens`` of one that is there already. ``tokens`` are the
    prompt and the answer so far, of which the first ``fed`` are in the row; ``cached_tokens`` of the prompt were in it
    from the start. ``generated`` counts every sampled token, ``unreported`` those without a delta so far, and
    ``logprobs`` are theirs. ``admission`` numbers the rows it got, over all requests; ``leaders`` are those that began
    like it when it got this one. ``lookup`` guesses how it goes on.
    """

    job: Job
    max_tokens: int
    room_tokens: int
    least_tokens: int
    tokens: list[int]
    arrival: int
    submitted_at: float
    admitted_at: float | None = None
    first_token_at: float | None = None
    row: Row | None = None
    fed: int = 0
    cached_tokens: int = 0
    generated: int = 0
    unreported: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    admission: int = 0
    leaders: list[Leader] = field(default_factory=list)
    lookup: PromptLookup | None = None

    @property
    def open_row(self) -> Row:
        """The row it runs in. Raises RuntimeError while it waits for one: that is a mistake of the scheduler."""
        if self.row is None:
            raise RuntimeError(f"request {self.job.request_id} has no row")
        return self.row

    def take(self, token: int, now: float, logits: Logits | None = None) -> tuple[list[ToDaemon], str | None]:
        """Add a sampled token: what there is to show now, and why the answer ends with it (None: it goes on).

        ``logits``, shape [vocab], are those that it was sampled from.
        """
        if self.first_token_at is None:
            self.first_token_at = now
        self.generated += 1
        if token in self.job.end_ids:
            return [], "stop"
        self.tokens.append(token)
        self.unreported += 1
        if self.job.logprobs is not None and logits is not None:
            self.logprobs.append(self.job.logprobs.of(logits, token))
        shown = self._delta(self.job.text.push(token))
        if self.job.text.is_stopped or self.job.sampler.is_complete:
            return shown, "stop"
        return shown, "length" if self.generated >= self.max_tokens else None

    def end(self, reason: str, now: float) -> list[ToDaemon]:
        """The rest of the text, and Finished."""
        text = self.job.text
        last = self._delta(text.flush())
        if reason == "stop" and text.has_tool_calls:
            reason = "tool_calls"
        admitted_at = now if self.admitted_at is None else self.admitted_at
        finished = Finished(
            request_id=self.job.request_id,
            finish_reason=reason,
            prompt_tokens=len(self.job.prompt),
            completion_tokens=self.generated,
            queue_s=admitted_at - self.submitted_at,
            ttft_s=0.0 if self.first_token_at is None else self.first_token_at - self.submitted_at,
            decode_s=0.0 if self.first_token_at is None else now - self.first_token_at,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=text.reasoning_tokens,
            stop_string=text.stop_string,
        )
        return [*last, finished]

    def fail(self, error: SlmregError) -> list[ToDaemon]:
        return [Failed(request_id=self.job.request_id, code=error.code, message=error.message)]

    def _delta(self, pieces: Pieces) -> list[ToDaemon]:
        if not pieces:
            return []
        tokens, self.unreported = self.unreported, 0
        logprobs, self.logprobs = self.logprobs, []
        return [
            Delta(
                self.job.request_id,
                pieces.text,
                tokens,
                reasoning=pieces.reasoning,
                tool_calls=pieces.tool_calls,
                logprobs=logprobs,
            )
        ]


def too_long(job: Job, context_tokens: int) -> Failed:
    """The answer to a prompt that leaves no room for a single token."""
    error = ContextLengthExceeded(len(job.prompt), context_tokens)
    return Failed(
        request_id=job.request_id,
        code=error.code,
        message=error.message,
        prompt_tokens=len(job.prompt),
        context_tokens=context_tokens,
    )
