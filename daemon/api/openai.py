"""OpenAI's API: chat completions."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.completion import Completion
from daemon.api.headers import wishes_in
from daemon.api.naming import in_the_names_of
from daemon.api.serving import respond


def openai_router(answers: Answers, *, max_messages: Callable[[], int]) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a chat, whole or as server-sent events."""
        generate = body.as_generate(max_messages=max_messages())
        wishes = wishes_in(request.headers)
        include_usage = body.stream_options is not None and body.stream_options.include_usage

        def in_words(answer: Answer) -> Completion:
            return Completion(answer, choices=body.n, has_logprobs=body.logprobs, include_usage=include_usage)

        starting = answers.start(body.model, generate, body.wants(wishes), body.terms(wishes))
        with in_the_names_of(body.names):
            return await respond(request, starting, in_words, is_stream=body.stream)

    return router
