"""What a request asks of the scheduler, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.pool.protocol import TokenLogprob
from daemon.worker.logprobs import Logprobs
from daemon.worker.rows import Row
from daemon.worker.sampling import Sampler
from daemon.worker.text import AnswerText


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request, ready to run. ``max_tokens`` None: to the end of the context. ``end_ids`` end the answer.

    ``adapter`` is the LoRA adapter to run with. ``can_reuse``: the tokens alone say what is read, so that a row may be
    used for another prompt that begins with the same ones (not so with images). ``logprobs`` None: none are told.
    """

    request_id: str
    prompt: Sequence[int]
    max_tokens: int | None
    end_ids: frozenset[int]
    sampler: Sampler
    text: AnswerText
    adapter: str | None = None
    can_reuse: bool = True
    logprobs: Logprobs | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A job on its way. Times are the clock's.

    ``room_tokens`` is what it asks of a new row, ``least_tokens`` of one that is there already. ``tokens`` are the
    prompt and the answer so far, of which the first ``fed`` are in the row; ``cached_tokens`` of the prompt were in it
    from the start. ``generated`` counts every sampled token, ``unreported`` those without a delta so far, and
    ``logprobs`` are theirs.
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

    @property
    def open_row(self) -> Row:
        """The row it runs in. Raises RuntimeError while it waits for one: that is a mistake of the scheduler."""
        if self.row is None:
            raise RuntimeError(f"request {self.job.request_id} has no row")
        return self.row
