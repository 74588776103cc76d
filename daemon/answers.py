"""One answer of one model, from the name in a request to the last token: resolve, lease, generate, learn, give back.

Invariant: whoever gets an ``Answer`` closes it, and closing it stops the generation and returns the lease, whenever.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self

from daemon.catalog import Catalog, Resolved
from daemon.company import Company
from daemon.endpoints import EMBEDDINGS, TRANSCRIPTIONS
from daemon.learner import Answered, Learner
from daemon.pool.failures import FailureKind, kind_of_request
from daemon.pool.launch import Event
from daemon.pool.lease import Lease
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Accepted, Delta, Embed, Embedded, Failed, Finished, Generate, Transcribe
from daemon.wants import NO_WANTS, Wants
from registry.errors import (
    AnswerTimedOut,
    ContextLengthExceeded,
    GenerationFailed,
    InvalidRequest,
    SlmregError,
)
from registry.model import Model, Task

log = logging.getLogger("slmreg.answers")


class Answer:
    """An accepted request: the model is loaded and the prompt fits. Iterate for Delta ... Finished.

    ``name`` is the model's, with its adapter. ``task`` and ``decision_id`` are there where slmreg chose the model: for
    what, and where the choice is kept.
    """

    def __init__(
        self, resolved: Resolved, prompt_tokens: int, events: AsyncGenerator[Event, None], stack: AsyncExitStack
    ) -> None:
        self.model = resolved.model
        self.name = resolved.name
        self.task: Task | None = resolved.selection.task if resolved.selection is not None else None
        self.decision_id = resolved.decision_id
        self.prompt_tokens = prompt_tokens
        self._events = events
        self._stack = stack
        self._end: Finished | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[Delta | Finished]:
        async for event in self._events:
            if isinstance(event, Failed):
                raise as_error(event)
            if isinstance(event, Finished):
                self._end = event
            if isinstance(event, Delta | Finished):
                yield event

    async def aclose(self) -> None:
        """Stop generating, if it still is, and give the session back. Doing it twice is fine."""
        if not self._is_closed:
            self._is_closed = True
            self._log_end()
        await self._stack.aclose()

    def _log_end(self) -> None:
        """Once for every answer, however it ended; never a word of what was said."""
        end = self._end
        if end is None:
            log.info("answer.unfinished model=%s prompt_tokens=%d", self.model.id, self.prompt_tokens)
        else:
            log.info(
                "answer.finished model=%s reason=%s prompt_tokens=%d completion_tokens=%d ttft_s=%.3f decode_s=%.3f",
                self.model.id,
                end.finish_reason,
                end.prompt_tokens,
                end.completion_tokens,
                end.ttft_s,
                end.decode_s,
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedTexts:
    """``vectors`` are little-endian float32, all in one, ``dimensions`` numbers each; the rest as in ``Answer``."""

    model: Model
    task: Task | None
    decision_id: str | None
    vectors: bytes
    dimensions: int
    prompt_tokens: int


class Answers:
    """Starts answers, and lets ``learner`` know how they went."""

    def __init__(self, catalog: Catalog, pool: SessionPool, learner: Learner, *, request_timeout_s: float) -> None:
        self._catalog = catalog
        self._pool = pool
        self._learner = learner
        self._timeout_s = request_timeout_s
        self._company = Company(pool)

    async def start(self, reference: str, request: Generate, wants: Wants = NO_WANTS) -> Answer:
        """Ask the model that ``reference`` means (a name, or ``auto``, for which ``wants`` counts).

        Everything that can be refused is refused here, before a response has begun. Raises SlmregError.
        """
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, wants)
        if resolved.selection is not None:
            log.info("selection.made task=%s id=%s", resolved.selection.task, resolved.model.id)
        if request.thinking is None:
            request = replace(request, thinking=resolved.thinking)
        return await self._start(resolved, replace(request, adapter=resolved.adapter))

    async def transcribe(self, reference: str, request: Transcribe, wants: Wants = NO_WANTS) -> Answer:
        """Have speech written down by the model that ``reference`` means. Raises SlmregError."""
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, wants, serves=TRANSCRIPTIONS)
        return await self._start(resolved, request)

    async def _start(self, resolved: Resolved, request: Generate | Transcribe) -> Answer:
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._pool.lease(resolved.model, resolved.plan))
            events = self._in_time(self._learned(lease.generate(request), lease))
            stack.push_async_callback(events.aclose)
            first = await anext(events)
            if not isinstance(first, Accepted):
                raise as_error(first)
            return Answer(resolved, first.prompt_tokens, events, stack.pop_all())
        raise AssertionError("an exit stack swallows nothing")

    async def embed(self, reference: str, request: Embed, wants: Wants = NO_WANTS) -> EmbeddedTexts:
        """Have vectors made by the model that ``reference`` means. Raises SlmregError."""
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, wants, serves=EMBEDDINGS)
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._pool.lease(resolved.model, resolved.plan))
            events = self._in_time(self._learned(lease.generate(request), lease))
            stack.push_async_callback(events.aclose)
            made = await anext(events)
        if not isinstance(made, Embedded):
            raise as_error(made)
        log.info(
            "answer.embedded model=%s inputs=%d tokens=%d", lease.model.id, len(request.inputs), made.prompt_tokens
        )
        return EmbeddedTexts(
            model=resolved.model,
            task=resolved.selection.task if resolved.selection is not None else None,
            decision_id=resolved.decision_id,
            vectors=base64.b64decode(made.vectors),
            dimensions=made.dimensions,
            prompt_tokens=made.prompt_tokens,
        )

    async def _learned(self, events: AsyncGenerator[Event, None], lease: Lease) -> AsyncGenerator[Event, None]:
        """The events, of which the last one teaches something."""
        stay = self._company.enter()
        try:
            async for event in events:
                if isinstance(event, Finished | Failed):
                    self._company.leave(stay)  # before the client reads of it, and asks again
                    self._learn_from(event, lease, is_alone=stay.is_alone)
                yield event
        finally:
            self._company.leave(stay)
            await events.aclose()

    def _learn_from(self, end: Finished | Failed, lease: Lease, *, is_alone: bool) -> None:
        """An answer that was given up teaches nothing, nor one that failed for other reasons than memory."""
        if isinstance(end, Failed):
            if kind_of_request(end) is FailureKind.OUT_OF_MEMORY:
                self._learner.ran_out_of_memory(lease.model, lease.plan.need_bytes)
        elif end.finish_reason != "cancelled":
            self._learner.answered(_lesson(end, lease, is_alone=is_alone))

    async def _in_time(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The events, until ``request_timeout_s`` is over."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            while True:
                async with asyncio.timeout_at(deadline_s):
                    event = await anext(events)
                yield event
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise AnswerTimedOut(
                f"The answer was not finished within request_timeout_s = {self._timeout_s:g} s. "
                "Ask for fewer tokens (max_tokens) or raise the setting."
            ) from None
        finally:
            await events.aclose()


def _lesson(end: Finished, lease: Lease, *, is_alone: bool) -> Answered:
    """``queue_s`` says how busy the machine was, and nothing about the model."""
    return Answered(
        model=lease.model,
        threads=lease.plan.threads,
        prompt_tokens=end.prompt_tokens,
        completion_tokens=end.completion_tokens,
        ttft_s=max(0.0, end.ttft_s - end.queue_s),
        decode_s=end.decode_s,
        is_alone=is_alone,
        peak_bytes=lease.peak_bytes(),
    )


def as_error(event: Event) -> SlmregError:
    """The exception for a request that the worker refused or could not finish."""
    if not isinstance(event, Failed):
        return GenerationFailed(f"The worker answered {type(event).__name__} out of turn.")
    if event.prompt_tokens is not None and event.context_tokens is not None:
        param = event.param or "messages"
        return ContextLengthExceeded(event.prompt_tokens, event.context_tokens, message=event.message, param=param)
    if event.code == InvalidRequest.code:
        return InvalidRequest(event.message, param=event.param or "messages")
    return GenerationFailed(event.message)
