"""POST /reasoning and GET /health, as small serving engines for one model have them: a prompt in, a text out.

The model is chosen for the kind of task, and every failure has its status: a text is always an answer.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.completion import Completion
from daemon.api.fields import RequestBody
from daemon.api.headers import Wishes
from daemon.api.naming import in_the_names_of
from daemon.api.serving import respond
from daemon.catalog import Catalog
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.shapes import Json
from registry.model import Status, Task

_NAMES = {"messages": "prompt"}


class TaskType(StrEnum):
    REASONING = "reasoning"
    MATH = "math"
    CODING = "coding"


_TASKS = {TaskType.REASONING: Task.REASONING, TaskType.MATH: Task.MATH, TaskType.CODING: Task.CODE}
_INSTRUCTIONS = {
    TaskType.REASONING: "Reason about the question one step at a time, and end with your conclusion.",
    TaskType.MATH: "Work out the problem, show how you got there, and state the result at the end.",
    TaskType.CODING: "Write code that is correct and easy to read, with comments where something is not obvious.",
}


class ReasoningRequest(RequestBody):
    """``max_length`` bounds the tokens of the answer. ``model`` is for those who do not want it chosen for them."""

    prompt: str = Field(min_length=1)
    task_type: TaskType = Field(TaskType.REASONING, strict=False)
    max_length: int = Field(200, ge=1)
    temperature: float = Field(0.3, ge=0, le=2)
    model: str = Field("auto", min_length=1, max_length=512)

    def as_chat(self) -> ChatRequest:
        messages = [
            {"role": "system", "content": _INSTRUCTIONS[self.task_type]},
            {"role": "user", "content": self.prompt},
        ]
        asked = {"model": self.model, "max_tokens": self.max_length, "temperature": self.temperature}
        return ChatRequest.model_validate({**asked, "messages": messages})


class ReasonedText(Completion):
    """A chat's answer as this endpoint tells it. ``started_s`` is when the request came, of ``time.perf_counter``."""

    def __init__(self, answer: Answer, task_type: TaskType, started_s: float) -> None:
        super().__init__(answer)
        self._task_type = task_type
        self._started_s = started_s

    async def whole(self) -> Json:
        answer = await super().whole()
        return {
            "generated_text": answer["choices"][0]["message"]["content"],
            "task_type": self._task_type,
            "inference_time": round(time.perf_counter() - self._started_s, 4),
            "model": answer["model"],
        }


def reasoning_router(answers: Answers, catalog: Catalog, pool: SessionPool) -> APIRouter:
    router = APIRouter(tags=["simple engine"])

    @router.post("/reasoning", response_model=None)
    async def reasoning(body: ReasoningRequest, request: Request) -> Response:
        """Answer a prompt; ``inference_time`` is in seconds, waiting and loading included."""
        started_s = time.perf_counter()
        with in_the_names_of(_NAMES):
            chat = body.as_chat()
            starting = answers.start(
                body.model, chat.as_generate(max_messages=2), chat.wants(Wishes(task=_TASKS[body.task_type]))
            )
            return await respond(
                request, starting, lambda answer: ReasonedText(answer, body.task_type, started_s), is_stream=False
            )

    @router.get("/health")
    async def health() -> Json:
        """Which model is loaded, if one is, and what it can do; without one, what could be loaded can do."""
        ready = [session for session in pool.snapshot() if session.state is SessionState.READY]
        last_used = min(ready, key=lambda session: session.idle_s, default=None)
        tasks = await asyncio.to_thread(_tasks_of, catalog, last_used.model_id if last_used is not None else None)
        return {
            "status": "healthy" if last_used is not None else "model_not_loaded",
            "model": last_used.model_id if last_used is not None else None,
            "capabilities": [kind for kind, task in _TASKS.items() if task in tasks],
        }

    return router


def _tasks_of(catalog: Catalog, model_id: str | None) -> set[Task]:
    """Of one model, or of all that can be used."""
    models = catalog.models(include_missing=False)
    return {task for m in models if m.status is Status.READY and model_id in (None, m.id) for task in m.tasks}
