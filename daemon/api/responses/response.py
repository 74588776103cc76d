"""One answer as OpenAI's ``response``, whole or as a stream of events that tell how it comes to be.

Invariant: the last event of a stream has what the whole answer would be.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

from daemon.answers import Answer
from daemon.api.errors import error_body
from daemon.api.responses.output import Output
from daemon.api.responses.request import ResponsesRequest
from daemon.api.streaming import event_frame
from daemon.pool.protocol import Finished
from daemon.shapes import Json
from registry.errors import GenerationFailed, SlmregError

log = logging.getLogger("slmreg.api")


class ResponseInMaking:
    """``whole`` or ``frames`` can be used once; ``kept`` is called with what was completed."""

    def __init__(self, answer: Answer, request: ResponsesRequest, kept: Callable[[Json], object]) -> None:
        self._answer = answer
        self._request = request
        self._kept = kept
        self._output = Output(has_logprobs=request.has_logprobs)
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._asked = request.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def whole(self) -> Json:
        """The whole answer. Raises SlmregError."""
        body: Json = {}
        async for event in self._events():
            body = event.get("response", body)
        return body

    async def frames(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events. What breaks it is told by ``response.failed`` and ``error``, the last."""
        number = 0
        try:
            async for event in self._events():
                yield _frame(event, number)
                number += 1
        except SlmregError as error:
            failure = error
        except Exception as bug:
            log.exception("stream.bug")
            failure = GenerationFailed(f"slmreg failed on this answer: {type(bug).__name__}.")
        else:
            return
        for event in self._failed(failure):
            yield _frame(event, number)
            number += 1

    async def aclose(self) -> None:
        """Stop generating, if it still is."""
        await self._answer.aclose()

    async def _events(self) -> AsyncIterator[Json]:
        for kind in ("response.created", "response.in_progress"):
            yield {"type": kind, "response": self._body("in_progress")}
        end: Finished | None = None
        async for said in self._answer:
            if isinstance(said, Finished):
                end = said
            else:
                for event in self._output.take(said):
                    yield event
        if end is None:
            raise GenerationFailed("The answer broke off: its end never came. Ask again.")
        status = "incomplete" if end.finish_reason == "length" else "completed"
        for event in self._output.finish(status):
            yield event
        body = self._finished(status, end)
        await self._keep(body)
        yield {"type": f"response.{status}", "response": body}

    async def _keep(self, body: Json) -> None:
        if self._request.store:
            await asyncio.to_thread(self._kept, body)

    def _failed(self, error: SlmregError) -> Iterator[Json]:
        told = error_body(error)["error"]
        failure = {"code": told["code"], "message": told["message"]}
        yield {"type": "response.failed", "response": {**self._body("failed"), "error": failure}}
        yield {"type": "error", **failure, "param": told["param"]}

    def _finished(self, status: str, end: Finished) -> Json:
        is_cut = status == "incomplete"
        return {
            **self._body(status),
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "completed_at": None if is_cut else int(time.time()),
            "usage": {
                "input_tokens": self._answer.prompt_tokens,
                "input_tokens_details": {"cached_tokens": end.cached_tokens},
                "output_tokens": end.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": end.reasoning_tokens},
                "total_tokens": self._answer.prompt_tokens + end.completion_tokens,
            },
        }

    def _body(self, status: str) -> Json:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": self._request.instructions,
            "max_output_tokens": self._request.max_output_tokens,
            "max_tool_calls": None,
            "model": self._answer.name,
            "output": list(self._output.items) if status != "in_progress" else [],
            "parallel_tool_calls": self._request.parallel_tool_calls,
            "previous_response_id": self._request.previous_response_id,
            "reasoning": {"effort": self._request.reasoning.effort, "summary": None},
            "service_tier": "default",
            "store": self._request.store,
            "temperature": self._request.temperature,
            "text": {"format": self._asked["text"]["format"], "verbosity": "medium"},
            "tool_choice": self._asked["tool_choice"],
            "tools": self._asked["tools"],
            "top_logprobs": self._request.top_logprobs,
            "top_p": self._request.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": self._request.user,
            "metadata": self._request.metadata,
        }


def _frame(event: Json, number: int) -> bytes:
    return event_frame({**event, "sequence_number": number}, event["type"])
