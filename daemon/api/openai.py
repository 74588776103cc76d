"""OpenAI's API: models and chat completions."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from daemon.admin import Admin
from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.errors import error_body
from daemon.api.streaming import ClientLeft, EventStream, json_list, or_leave
from daemon.listing import encode
from daemon.pool.protocol import Delta, Finished, ToolCallDelta
from daemon.shapes import Json
from registry.errors import GenerationFailed, SlmregError
from registry.model import Model, Status

log = logging.getLogger("slmreg.api")

# Of an id in a header; everything beyond ASCII is percent-encoded.
READABLE = " !#$&'()*+,/:;=?@[]~"
TASK_HEADER = "x-slmreg-task"
POLICY_HEADER = "x-slmreg-policy"
CLIENT_LEFT = 499  # nginx's number for it; nobody is there to read it


def openai_router(admin: Admin, answers: Answers, *, max_messages: int) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.get("/models", response_model=None)
    def list_models() -> Response:
        """Every model that can be used now."""
        models, _total = admin.encoded_models()
        usable = ([_openai_model(*each) for each in part if each[0].status is Status.READY] for part in models)
        return json_list(b'{"object":"list","data":[', usable, b"]}")

    @router.get("/models/{reference:path}", response_model=None)
    def get_model(reference: str) -> Response:
        """One model, by id, name or alias."""
        model, record = admin.encoded_model(reference)
        return Response(_openai_model(model, record), media_type="application/json")

    @router.post("/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a chat, whole or as server-sent events."""
        generate = body.as_generate(max_messages=max_messages)
        wants = body.wants(task=request.headers.get(TASK_HEADER), policy=request.headers.get(POLICY_HEADER))
        try:
            answer = await or_leave(answers.start(body.model, generate, wants), request.receive)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(answer)
            headers = _headers(answer)
            completion = _Completion(answer)
            if body.stream:
                include_usage = body.stream_options is not None and body.stream_options.include_usage
                frames = completion.frames(include_usage=include_usage)
                response = EventStream(frames, close=answer.aclose, headers=headers)
                stack.pop_all()  # the response closes the answer
                return response
            try:
                return JSONResponse(await or_leave(completion.whole(), request.receive), headers=headers)
            except ClientLeft:
                return Response(status_code=CLIENT_LEFT)

    return router


def _headers(answer: Answer) -> dict[str, str]:
    """Which model answers; and where slmreg chose it, for which task and where the choice can be looked up."""
    headers = {"x-slmreg-model": quote(answer.model.id, safe=READABLE)}
    if answer.task is not None:
        headers[TASK_HEADER] = answer.task
    if answer.decision_id is not None:
        headers["x-slmreg-selection"] = answer.decision_id
    return headers


class _Completion:
    """One answer in OpenAI's words. ``whole`` or ``frames`` can be used once."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> Json:
        """The whole answer as one ``chat.completion``."""
        parts: list[str] = []
        reasoning: list[str] = []
        calls: list[Json] = []
        finished: Finished | None = None
        async for event in self._answer:
            if isinstance(event, Finished):
                finished = event
                continue
            parts.append(event.text)
            reasoning.append(event.reasoning)
            for piece in event.tool_calls:
                _add_to(calls, piece)
        message: Json = {"role": "assistant", "content": "".join(parts) or (None if calls else ""), "refusal": None}
        if any(reasoning):
            message["reasoning_content"] = "".join(reasoning)
        if calls:
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason(finished),
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(finished)}

    async def frames(self, *, include_usage: bool) -> AsyncIterator[bytes]:
        """The answer as server-sent events, ending with ``[DONE]``, or with an error object if it breaks."""
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            finished: Finished | None = None
            async for event in self._answer:
                if isinstance(event, Finished):
                    finished = event
                    continue
                yield self._chunk(_as_delta(event))
            yield self._chunk({}, finish_reason=self._finish_reason(finished))
            if include_usage:
                yield _frame({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(finished)})
            yield b"data: [DONE]\n\n"
        except SlmregError as error:
            yield _frame(error_body(error))
        except Exception as error:
            log.exception("stream.bug")
            yield _frame(error_body(GenerationFailed(f"slmreg failed on this answer: {type(error).__name__}.")))

    def _finish_reason(self, finished: Finished | None) -> str:
        return finished.finish_reason if finished is not None else "stop"

    def _usage(self, finished: Finished | None) -> Json:
        prompt = self._answer.prompt_tokens
        completion = finished.completion_tokens if finished is not None else 0
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._answer.model.id}

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _frame({**self._head("chat.completion.chunk"), "choices": [choice]})


def _frame(body: Any) -> bytes:
    """One event. In ASCII: some clients split lines also at U+2028 and the like, which JSON may hold as they are."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _as_delta(event: Delta) -> Json:
    delta: Json = {"content": event.text} if event.text else {}
    if event.reasoning:
        delta["reasoning_content"] = event.reasoning
    if event.tool_calls:
        delta["tool_calls"] = [_as_tool_call(piece) for piece in event.tool_calls]
    return delta


def _as_tool_call(piece: ToolCallDelta) -> Json:
    """The first piece of a call has its name, and gets the id."""
    if piece.name is None:
        return {"index": piece.index, "function": {"arguments": piece.arguments}}
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"index": piece.index, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _add_to(calls: list[Json], piece: ToolCallDelta) -> None:
    if piece.name is not None:
        call = _as_tool_call(piece)
        del call["index"]
        calls.append(call)
    else:
        calls[piece.index]["function"]["arguments"] += piece.arguments


def _openai_model(model: Model, record: bytes) -> bytes:
    """OpenAI's four keys, and our ``record`` of the model in a key of its own."""
    owner = "slmreg-demo" if model.is_demo else (model.publisher or str(model.source))
    names = (encode(model.id), encode(owner))
    return b'{"id":%b,"object":"model","created":0,"owned_by":%b,"slmreg":%b}' % (*names, record)
