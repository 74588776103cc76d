"""One answer of one model, from the name in a request to the last token: resolve, lease, generate, learn, give back.

Invariant: whoever gets an ``Answer`` closes it, and closing it stops the generation and returns the lease, whenever.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from daemon.answer_limits import AnswerLimits
from daemon.catalog import Catalog
from daemon.company import Company
from daemon.deadline import Deadline
from daemon.endpoints import CHATS, EMBEDDINGS, TRANSCRIPTIONS, Endpoint
from daemon.learner import Answered, Learner
from daemon.meanings import Meanings
from daemon.metrics.book import AnswerMeter, Metrics
from daemon.pool.failures import FailureKind, kind_of_request
from daemon.pool.launch import Ask, Event
from daemon.pool.lease import Lease
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Accepted, Delta, Embed, Embedded, Failed, Finished, Generate, Transcribe
from daemon.presets import options_of, with_preset
from daemon.resolving import Resolved
from daemon.terms import NO_TERMS, Terms
from daemon.wants import NO_WANTS, Wants
from registry.errors import (
    ContextLengthExceeded,
    GenerationFailed,
    InvalidRequest,
    LoadFailed,
    OutOfBudget,
    SlmregError,
    UnsupportedParameter,
    WorkerDied,
)
from registry.model import Model, Task

log = logging.getLogger("slmreg.answers")

# Models that slmreg tries for one request before it gives up: each may take a while to fail.
MOST_TRIED = 3
# Room for the answer where a request does not say how long that may get (judged).
USUAL_ANSWER_TOKENS = 512
First = TypeVar("First", Accepted, Embedded)


class Answer:
    """An accepted request: the model is loaded and the prompt fits. Iterate for Delta ... Finished.

    ``name`` is the model's, with its adapter. ``prompt_text`` is that of a prompt of token ids. ``task`` and
    ``decision_id`` are there where slmreg chose the model: for what, and where the choice is kept.
    """

    def __init__(
        self, resolved: Resolved, accepted: Accepted, events: AsyncGenerator[Event, None], stack: AsyncExitStack
    ) -> None:
        self.model = resolved.model
        self.name = resolved.name
        self.task: Task | None = resolved.selection.task if resolved.selection is not None else None
        self.decision_id = resolved.decision_id
        self.prompt_tokens = accepted.prompt_tokens
        self.prompt_text = accepted.prompt_text
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

    def __init__(
        self,
        catalog: Catalog,
        pool: SessionPool,
        learner: Learner,
        *,
        request_timeout_s: Callable[[], float],
        limits: Callable[[], AnswerLimits] = AnswerLimits,
        logs_prompts: Callable[[], bool] = lambda: False,
        metrics: Metrics | None = None,
    ) -> None:
        """``logs_prompts``: write what is asked into the log, which nothing else does."""
        self._catalog = catalog
        self._pool = pool
        self._learner = learner
        self._timeout_s = request_timeout_s
        self._limits = limits
        self._logs_prompts = logs_prompts
        self._metrics = metrics or Metrics()
        self._company = Company(pool)
        self._meanings = Meanings()

    @property
    def is_crowded(self) -> bool:
        """Whether some requests are refused now, because there are too many."""
        return self._pool.is_crowded

    def refuse_if_full(self, reference: str) -> None:
        """Takes microseconds: where many are refused, those who are answered do not pay for it.

        It knows the names that were asked for since the models changed; what it lets pass may be refused later. Raises
        Overloaded, TooBusy.
        """
        model = self._meanings.find(reference)
        if model is not None:
            self._pool.refuse_if_full(model)

    def forget_meanings(self) -> None:
        """The models have changed."""
        self._meanings.forget()

    async def start(
        self, reference: str, request: Generate, wants: Wants = NO_WANTS, terms: Terms = NO_TERMS
    ) -> Answer:
        """Ask the model that ``reference`` means (a name, or ``auto``, for which ``wants`` counts).

        Everything that can be refused is refused here, before a response has begun. Where slmreg chose a model that
        cannot be loaded after all, the next best one answers; a model that was named or pinned is never replaced.
        Raises SlmregError.
        """

        limits = self._limits()
        limits.check(request)
        if self._logs_prompts():
            log.info("answer.prompt messages=%r", request.messages)

        def ask(resolved: Resolved) -> Generate:
            thinking = resolved.thinking if request.thinking is None else request.thinking
            bounded = limits.within(request, resolved.plan.context_tokens)
            asked = replace(bounded, thinking=thinking, adapter=resolved.adapter)
            return asked if resolved.preset is None else with_preset(asked, resolved.preset)

        resolved, accepted, events, stack = await self._begin(reference, wants, CHATS, terms, ask, Accepted)
        return Answer(resolved, accepted, events, stack)

    async def transcribe(
        self, reference: str, request: Transcribe, wants: Wants = NO_WANTS, terms: Terms = NO_TERMS
    ) -> Answer:
        """Have speech written down by the model that ``reference`` means. As ``start``."""
        resolved, accepted, events, stack = await self._begin(
            reference, wants, TRANSCRIPTIONS, terms, lambda _resolved: request, Accepted
        )
        return Answer(resolved, accepted, events, stack)

    async def embed(
        self, reference: str, request: Embed, wants: Wants = NO_WANTS, terms: Terms = NO_TERMS
    ) -> EmbeddedTexts:
        """Have vectors made by the model that ``reference`` means. As ``start``."""
        resolved, made, _events, stack = await self._begin(
            reference, wants, EMBEDDINGS, terms, lambda _resolved: request, Embedded
        )
        await stack.aclose()
        log.info(
            "answer.embedded model=%s inputs=%d tokens=%d", resolved.model.id, len(request.inputs), made.prompt_tokens
        )
        return EmbeddedTexts(
            model=resolved.model,
            task=resolved.selection.task if resolved.selection is not None else None,
            decision_id=resolved.decision_id,
            vectors=base64.b64decode(made.vectors),
            dimensions=made.dimensions,
            prompt_tokens=made.prompt_tokens,
        )

    async def _begin(
        self,
        reference: str,
        wants: Wants,
        serves: Endpoint,
        terms: Terms,
        ask: Callable[[Resolved], Ask],
        expected: type[First],
    ) -> tuple[Resolved, First, AsyncGenerator[Event, None], AsyncExitStack]:
        """The model that answers, its first event, the others, and what gives everything back when it is closed."""
        deadline = Deadline.of(terms, self._timeout_s())
        first_failure: SlmregError | None = None
        self.refuse_if_full(reference)
        meanings = self._meanings.snapshot()
        while True:
            try:
                resolved = await asyncio.to_thread(self._catalog.resolve, reference, wants, serves=serves)
            except SlmregError as nothing_left:
                raise first_failure or nothing_left from None
            meanings.note(reference, resolved)
            if resolved.selection is not None:
                log.info("selection.made task=%s model=%s", resolved.selection.task, resolved.model.id)
                self._metrics.selected(resolved.selection.task, resolved.model)
            try:
                first, events, stack = await self._ask(resolved, ask(resolved), terms, deadline, expected)
            except (LoadFailed, OutOfBudget, WorkerDied) as failure:
                first_failure = first_failure or failure
                if not _may_be_replaced(resolved) or len(wants.not_these) + 1 >= MOST_TRIED:
                    raise first_failure from None
                log.warning("selection.next_best instead_of=%s code=%s", resolved.model.id, failure.code)
                wants = replace(wants, not_these=(*wants.not_these, resolved.model.id))
            else:
                return resolved, first, events, stack

    async def _ask(
        self, resolved: Resolved, request: Ask, terms: Terms, deadline: Deadline, expected: type[First]
    ) -> tuple[First, AsyncGenerator[Event, None], AsyncExitStack]:
        """One that was loaded with too short a context is loaded again with a longer one, if there can be one."""
        plan = resolved.plan
        if terms.keep_alive is not None:
            plan = plan.stays_for(terms.keep_alive.seconds)
        least_tokens = terms.context_tokens or options_of(resolved.preset).num_ctx
        try:
            return await self._ask_by(plan, resolved.model, request, deadline, expected, least_tokens)
        except ContextLengthExceeded as too_long:
            answer_tokens = 0 if isinstance(request, Embed) else request.max_tokens or USUAL_ANSWER_TOKENS
            longer = await asyncio.to_thread(
                self._catalog.plan_longer, resolved.model, plan, too_long, answer_tokens=answer_tokens
            )
        log.info("answer.too_long model=%s asks_for_context_tokens=%d", resolved.model.id, longer.context_tokens)
        return await self._ask_by(longer, resolved.model, request, deadline, expected, least_tokens)

    async def _ask_by(
        self,
        plan: LoadPlan,
        model: Model,
        request: Ask,
        deadline: Deadline,
        expected: type[First],
        least_tokens: int | None,
    ) -> tuple[First, AsyncGenerator[Event, None], AsyncExitStack]:
        asked_s = self._metrics.clock()
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._pool.lease(model, plan, within_s=deadline.wait_s()))
            _require_context(lease, least_tokens)
            meter = self._metrics.meter(model, asked_s=asked_s)
            events = self._in_time(self._learned(lease.generate(request), lease, meter), deadline)
            stack.push_async_callback(events.aclose)
            first = await anext(events)
            if not isinstance(first, expected):
                raise as_error(first)
            return first, events, stack.pop_all()
        raise AssertionError("an exit stack swallows nothing")

    async def _learned(
        self, events: AsyncGenerator[Event, None], lease: Lease, meter: AnswerMeter
    ) -> AsyncGenerator[Event, None]:
        """The events, each of which is counted, and of which the last one teaches something."""
        stay = self._company.enter()
        try:
            async for event in events:
                meter.note(event)
                if isinstance(event, Finished | Failed):
                    self._company.leave(stay)  # before the client reads of it, and asks again
                    self._learn_from(event, lease, is_alone=stay.is_alone)
                yield event
        finally:
            self._company.leave(stay)
            meter.close()
            await events.aclose()

    def _learn_from(self, end: Finished | Failed, lease: Lease, *, is_alone: bool) -> None:
        """An answer that was given up teaches nothing, nor one that failed for other reasons than memory."""
        if isinstance(end, Failed):
            if kind_of_request(end) is FailureKind.OUT_OF_MEMORY:
                self._learner.ran_out_of_memory(lease.model, lease.plan.need_bytes)
        elif end.finish_reason != "cancelled":
            self._learner.answered(_lesson(end, lease, is_alone=is_alone))

    async def _in_time(self, events: AsyncGenerator[Event, None], deadline: Deadline) -> AsyncGenerator[Event, None]:
        """The events, until their time is over."""
        ends_s = deadline.from_now_s()
        try:
            while True:
                async with asyncio.timeout_at(ends_s):
                    event = await anext(events)
                yield event
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise deadline.missed() from None
        finally:
            await events.aclose()


def _require_context(lease: Lease, least_tokens: int | None) -> None:
    """Raises UnsupportedParameter where the loaded model has less room than that."""
    has = lease.plan.context_tokens
    if least_tokens is not None and least_tokens > has:
        raise UnsupportedParameter(
            f"'num_ctx' asks for {least_tokens} tokens of context, and {lease.model.id} is loaded with {has}: what "
            "max_context_tokens, the model and the memory allow. Ask for less, or leave it out.",
            param="num_ctx",
        )


def _may_be_replaced(resolved: Resolved) -> bool:
    return resolved.selection is not None and not resolved.selection.pinned


def _lesson(end: Finished, lease: Lease, *, is_alone: bool) -> Answered:
    """``queue_s`` says how busy the machine was, and nothing about the model."""
    return Answered(
        model=lease.model,
        threads=lease.plan.threads,
        prompt_tokens=end.prompt_tokens,
        completion_tokens=end.completion_tokens,
        ttft_s=max(0.0, end.ttft_s - end.queue_s),
        decode_s=end.decode_s,
        is_alone=is_alone and len(end.finish_reasons) <= 1,  # several answers ran beside each other
        peak_bytes=lease.peak_bytes(),
        cached_tokens=end.cached_tokens,
    )


def as_error(event: Event) -> SlmregError:
    """The exception for a request that the worker refused or could not finish."""
    if not isinstance(event, Failed):
        return GenerationFailed(f"The worker answered {type(event).__name__} out of turn.")
    if event.prompt_tokens is not None and event.context_tokens is not None:
        param = event.param or "messages"
        return ContextLengthExceeded(event.prompt_tokens, event.context_tokens, message=event.message, param=param)
    if event.code == UnsupportedParameter.code:
        return UnsupportedParameter(event.message, param=event.param)
    if event.code == InvalidRequest.code:
        return InvalidRequest(event.message, param=event.param or "messages")
    return GenerationFailed(event.message)
