"""One answer of one model, from the name in a request to the last token: resolve, lease, generate, give back.

Invariant: whoever gets an ``Answer`` closes it, and closing it stops the generation and returns the lease, whenever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

from daemon.catalog import Catalog
from daemon.pool.launch import Event
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Generate
from registry.errors import (
    AnswerTimedOut,
    ContextLengthExceeded,
    GenerationFailed,
    InvalidRequest,
    SlmregError,
)
from registry.model import Model

log = logging.getLogger("slmreg.answers")


class Answer:
    """An accepted request: the model is loaded and the prompt fits. Iterate for Delta ... Finished."""

    def __init__(
        self, model: Model, prompt_tokens: int, events: AsyncGenerator[Event, None], stack: AsyncExitStack
    ) -> None:
        self.model = model
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


class Answers:
    """Starts answers."""

    def __init__(self, catalog: Catalog, pool: SessionPool, *, request_timeout_s: float) -> None:
        self._catalog = catalog
        self._pool = pool
        self._timeout_s = request_timeout_s

    async def start(self, reference: str, request: Generate) -> Answer:
        """Ask the model that ``reference`` means (a name, or ``auto``).

        Everything that can be refused is refused here, before a response has begun. Raises SlmregError.
        """
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, needs_tools=bool(request.tools))
        if resolved.selection is not None:
            log.info("selection.made task=%s id=%s", resolved.selection.task, resolved.model.id)
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._pool.lease(resolved.model, resolved.plan))
            events = self._in_time(lease.generate(request))
            stack.push_async_callback(events.aclose)
            first = await anext(events)
            if not isinstance(first, Accepted):
                raise as_error(first)
            return Answer(resolved.model, first.prompt_tokens, events, stack.pop_all())
        raise AssertionError("an exit stack swallows nothing")

    async def _in_time(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event]:
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


def as_error(event: Event) -> SlmregError:
    """The exception for a request that the worker refused or could not finish."""
    if not isinstance(event, Failed):
        return GenerationFailed(f"The worker answered {type(event).__name__} out of turn.")
    if event.prompt_tokens is not None and event.context_tokens is not None:
        return ContextLengthExceeded(event.prompt_tokens, event.context_tokens)
    if event.code == InvalidRequest.code:
        return InvalidRequest(event.message, param="messages")
    return GenerationFailed(event.message)
