"""Vectors of texts: requests take turns, one batch each. No threads, no clock, and no library of its own.

A batch holds texts of about the same length, so that little is computed for what fills them up, and is bounded, so that
a cancel waits for one batch at most and attention's scratch memory stays small.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from daemon.pool.protocol import Cancel, Embed, Embedded, Finished, Pulse, ToDaemon, ToWorker
from daemon.worker.embedding.encoder import TextEncoder
from daemon.worker.embedding.pooling import Vectors, normalized
from daemon.worker.served import failed, refused
from registry.errors import ContextLengthExceeded, InvalidRequest, SlmregError

# Of one batch: texts x longest text squared, which is what attention's scores take (12 heads in fp32: 50 MB). Larger
# batches are no faster on a CPU: its cores are busy with one text of some hundred tokens.
MAX_BATCH_AREA = 2**20
MAX_BATCH_TEXTS = 64
# OpenAI's bound on one request.
MAX_TOTAL_TOKENS = 300_000
# Two thirds of a frame of the protocol, in base64 the rest of it.
MAX_VECTOR_BYTES = 40 * 1024 * 1024


class Tokenizer(Protocol):
    def ids(self, text: str | Sequence[int]) -> list[int]: ...
    def truncated(self, ids: list[int], most: int) -> list[int]: ...


@dataclass(slots=True, eq=False)
class _Job:
    """``texts`` are token ids; ``left`` the batches to come, as places in ``texts``; ``vectors`` by place."""

    request_id: str
    texts: list[list[int]]
    left: deque[list[int]]
    dimensions: int | None = None
    vectors: dict[int, Vectors] = field(default_factory=dict)


class EmbeddingEngine:
    """A ``daemon.worker.served.ServedModel`` that answers Embed. ``context_tokens`` bounds each text."""

    def __init__(self, encoder: TextEncoder, tokenizer: Tokenizer, *, context_tokens: int) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._jobs: deque[_Job] = deque()

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def pulse(self) -> Pulse:
        return Pulse()

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        match message:
            case Embed():
                return self._submit(message)
            case Cancel(request_id):
                return self._cancel(request_id)
            case _:
                return refused(message, "makes vectors of texts")

    def step(self) -> list[ToDaemon]:
        """One batch of the request whose turn it is; its vectors with the last one."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        places = job.left.popleft()
        try:
            vectors = self._encoder.vectors([job.texts[place] for place in places])
            vectors = shortened(vectors, job.dimensions)
            _require_transportable(len(job.texts), vectors.shape[-1])
            job.vectors |= dict(zip(places, vectors, strict=True))
        except SlmregError as error:
            return [failed(job.request_id, error)]
        if job.left:
            self._jobs.append(job)
            return []
        return [_embedded(job)]

    def _submit(self, request: Embed) -> list[ToDaemon]:
        try:
            texts = self._texts(request)
        except SlmregError as error:
            return [failed(request.request_id, error)]
        except Exception as error:  # one odd request must not end the others; its text may be in the message
            message = f"The texts could not be turned into tokens: {type(error).__name__}. Check what they hold."
            return [failed(request.request_id, InvalidRequest(message, param="input"))]
        self._jobs.append(_Job(request.request_id, texts, deque(batches(texts)), request.dimensions))
        return []

    def _texts(self, request: Embed) -> list[list[int]]:
        if not request.inputs:
            raise InvalidRequest("There is nothing to make a vector of: 'input' is empty.", param="input")
        texts, total = [], 0
        for index, text in enumerate(request.inputs):
            ids = self._tokenizer.ids(text)
            if request.is_truncating:
                ids = self._tokenizer.truncated(ids, self._context_tokens)
            if not ids:
                raise InvalidRequest(f"Input {index} is empty: there is nothing to make a vector of.", param="input")
            if len(ids) > self._context_tokens:
                raise ContextLengthExceeded(
                    len(ids),
                    self._context_tokens,
                    message=f"Input {index} has {len(ids)} tokens, and this model takes at most {self._context_tokens} "
                    "of each text. Split it into shorter ones.",
                    param="input",
                )
            total += len(ids)
            if total > MAX_TOTAL_TOKENS:
                raise InvalidRequest(
                    f"The inputs have more than {MAX_TOTAL_TOKENS} tokens together. Send them in several requests.",
                    param="input",
                )
            texts.append(ids)
        return texts

    def _cancel(self, request_id: str) -> list[ToDaemon]:
        job = next((job for job in self._jobs if job.request_id == request_id), None)
        if job is None:
            return []
        self._jobs.remove(job)
        return [_cancelled(request_id)]


def batches(texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of ``texts``, the longest first, in batches of at most MAX_BATCH_TEXTS and MAX_BATCH_AREA (or one)."""
    made: list[list[int]] = []
    for place in sorted(range(len(texts)), key=lambda place: -len(texts[place])):
        last = made[-1] if made else []
        longest = len(texts[last[0]]) if last else 0
        if last and len(last) < MAX_BATCH_TEXTS and (len(last) + 1) * longest**2 <= MAX_BATCH_AREA:
            last.append(place)
        else:
            made.append([place])
    return made


def shortened(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first ``dimensions`` of each, with the length 1 again, as OpenAI's API gives them; None leaves all.

    Raises InvalidRequest for more than there are.
    """
    has = vectors.shape[-1]
    if dimensions is None or dimensions == has:
        return vectors
    if dimensions > has:
        raise InvalidRequest(
            f"This model's vectors have {has} dimensions, not {dimensions}. Ask for fewer, or leave 'dimensions' out.",
            param="dimensions",
        )
    return normalized(vectors[:, :dimensions])


def _require_transportable(texts: int, dimensions: int) -> None:
    if 4 * texts * dimensions > MAX_VECTOR_BYTES:
        most = MAX_VECTOR_BYTES // (4 * dimensions)
        raise InvalidRequest(
            f"{texts} vectors of {dimensions} numbers are too much for one answer. Send at most {most} inputs at once.",
            param="input",
        )


def _embedded(job: _Job) -> Embedded:
    vectors = np.stack([job.vectors[place] for place in range(len(job.texts))]).astype("<f4")
    return Embedded(
        request_id=job.request_id,
        vectors=base64.b64encode(vectors.tobytes()).decode("ascii"),
        dimensions=vectors.shape[-1],
        prompt_tokens=sum(map(len, job.texts)),
    )


def _cancelled(request_id: str) -> Finished:
    return Finished(
        request_id=request_id,
        finish_reason="cancelled",
        prompt_tokens=0,
        completion_tokens=0,
        queue_s=0.0,
        ttft_s=0.0,
        decode_s=0.0,
    )
