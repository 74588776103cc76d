"""POST /api/chat and /api/generate: a chat, and a single prompt. Without anything to answer they (un)load the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, model_validator

from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.headers import wishes_in
from daemon.api.ollama.fields import AnswerBody, in_ollamas_words, without
from daemon.api.ollama.lines import Lines, Shape, as_message, as_response, loaded
from daemon.api.ollama.messages import OllamaMessage, content_of, openai_messages
from daemon.api.scopes import is_admin
from daemon.api.serving import respond
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, LineStream, or_leave
from daemon.loads import Loads
from daemon.options import TO_THE_END
from daemon.pool.protocol import Generate
from registry.errors import UnsupportedParameter


class ChatBody(AnswerBody):
    messages: list[OllamaMessage] = Field(default_factory=list)
    tools: list[dict[str, Any]] = Field(default_factory=list)

    def as_openai(self) -> ChatRequest:
        tools = [{"type": "function", **tool} for tool in self.tools]
        return self.as_chat(openai_messages(self.messages), tools=tools)


class GenerateBody(AnswerBody):
    """``raw``: the prompt is all that the model reads, without system text and chat template."""

    prompt: str = ""
    system: str = ""
    images: list[str] = Field(default_factory=list)
    raw: bool = False

    @model_validator(mode="before")
    @classmethod
    def _only_what_can_be_had(cls, body: Any) -> Any:
        """Raises UnsupportedParameter."""
        body = without(body, ("suffix",), why="models here write on from a text, and not up to one")
        body = without(
            body, ("template",), why="the chat template is the model's own; use 'raw' to write the whole text"
        )
        return without(body, ("context",), why="send the conversation as messages to /api/chat")

    @model_validator(mode="after")
    def _raw_is_all(self) -> GenerateBody:
        for name in ("system", "images", "think"):
            if self.raw and getattr(self, name):
                raise UnsupportedParameter(f"{name!r} has no place in a 'raw' prompt. Leave it out.", param=name)
        return self

    def as_openai(self) -> ChatRequest:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.as_chat([*system, {"role": "user", "content": content_of(self.prompt, self.images)}])


def answering_router(answers: Answers, loads: Loads, *, max_messages: Callable[[], int]) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["Ollama"])

    @router.post("/chat", response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:
        """Answer a chat, as lines of JSON or whole."""
        if not body.messages:
            return await load_or_unload(body, as_message, request)
        with in_ollamas_words():
            asked = body.as_openai()
            return await answer(body, asked, asked.as_generate(max_messages=max_messages()), as_message, request)

    @router.post("/generate", response_model=None)
    async def generate(body: GenerateBody, request: Request) -> Response:
        """Answer a prompt, as lines of JSON or whole."""
        if not body.prompt and not body.images:
            return await load_or_unload(body, as_response, request)
        with in_ollamas_words():
            asked = body.as_openai()
            made = asked.as_generate(max_messages=max_messages())
            if body.raw:
                made = replace(made, messages=[], prompt=body.prompt)
            return await answer(body, asked, made, as_response, request)

    async def answer(body: AnswerBody, asked: ChatRequest, made: Generate, shape: Shape, request: Request) -> Response:
        asked_s = time.monotonic()
        if body.options.max_tokens == TO_THE_END:
            made = replace(made, max_tokens=TO_THE_END)
        wishes = wishes_in(request.headers)
        wants = asked.wants(wishes)
        wants = replace(wants, context_tokens=max(wants.context_tokens or 0, body.options.num_ctx or 0))
        starting = answers.start(body.model, made, wants, body.terms(wishes))

        def in_words(begun: Answer) -> Lines:
            return Lines(begun, shape, asked_s=asked_s, has_logprobs=body.logprobs)

        return await respond(request, starting, in_words, is_stream=body.stream, stream=LineStream)

    async def load_or_unload(body: AnswerBody, shape: Shape, request: Request) -> Response:
        if body.is_unloading:
            model_id, _is_unloaded = await loads.unload(body.model, only_unused=not is_admin(request.scope))
        else:
            try:
                resolved = await or_leave(loads.load(body.model, keep_alive=body.keep_alive), request.receive)
            except ClientLeft:
                return Response(status_code=CLIENT_LEFT)
            model_id = resolved.name
        return JSONResponse(loaded(model_id, shape, is_unloading=body.is_unloading))

    return router
