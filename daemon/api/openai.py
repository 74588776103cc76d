"""OpenAI's API: models and chat completions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.admin import Admin
from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.completion import Completion
from daemon.api.headers import wishes_in
from daemon.api.kept import KeptAnswer
from daemon.api.naming import in_the_names_of
from daemon.api.serving import respond
from daemon.api.streaming import json_list
from daemon.listing import encode
from daemon.shapes import Json
from registry.model import Model, Status


def openai_router(admin: Admin, answers: Answers, *, max_messages: Callable[[], int]) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    kept = KeptAnswer()

    @router.get("/models", response_model=None)
    def list_models() -> Response:
        """Every model that can be used now, and every preset."""
        made_from, models = admin.all_encoded()
        presets = [_openai_preset(preset) for preset in admin.presets()]
        usable = ([_openai_model(*each) for each in part if each[0].status is Status.READY] for part in models)
        whole = chain(usable, [presets])
        return kept.of((made_from, presets), lambda: json_list(b'{"object":"list","data":[', whole, b"]}"))

    @router.get("/models/{reference:path}", response_model=None)
    def get_model(reference: str) -> Response:
        """One model, by id, name or alias, maybe with an adapter behind it as in requests; or one preset."""
        preset = admin.find_preset(reference)
        if preset is not None:
            return Response(_openai_preset(preset), media_type="application/json")
        name, (model, record) = admin.encoded_model(reference)
        return Response(_openai_model(model, record, name), media_type="application/json")

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


def _openai_model(model: Model, record: bytes, name: str | None = None) -> bytes:
    """OpenAI's four keys, and our ``record`` of the model in a key of its own. ``name`` None: its id."""
    owner = "slmreg-demo" if model.is_demo else (model.publisher or str(model.source))
    names = (encode(name or model.id), encode(owner))
    return b'{"id":%b,"object":"model","created":0,"owned_by":%b,"slmreg":%b}' % (*names, record)


def _openai_preset(preset: Json) -> bytes:
    record = {"id": preset["name"], "object": "model", "created": 0, "owned_by": "slmreg-preset", "slmreg": preset}
    return encode(record)
