"""OpenAI's API: models and chat completions."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from daemon.admin import Admin
from daemon.answers import Answer, Answers
from daemon.api.chat import ChatRequest
from daemon.api.errors import error_body
from daemon.api.headers import POLICY_HEADER, TASK_HEADER, answer_headers
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, EventStream, event_frame, json_list, or_leave
from daemon.listing import encode
from daemon.pool.protocol import Finished
from daemon.shapes import Json
from daemon.worker.tools import ToolCall, ToolCallFilter
from registry.errors import GenerationFailed, SlmregError
from registry.model import Model, Status

log = logging.getLogger("slmreg.api")


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
            headers = answer_headers(answer.name, answer.task, answer.decision_id)
            completion = _Completion(answer, has_tools=bool(generate.tools))
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


class _Completion:
    """One answer in OpenAI's words. ``whole`` or ``frames`` can be used once."""

    def __init__(self, answer: Answer, *, has_tools: bool) -> None:
        self._answer = answer
        self._tools = ToolCallFilter() if has_tools else None
        self._calls: list[ToolCall] = []
        self._announced = 0
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> Json:
        """The whole answer as one ``chat.completion``."""
        parts: list[str] = []
        finished: Finished | None = None
        async for event in self._answer:
            if isinstance(event, Finished):
                finished = event
            else:
                parts.append(self._visible(event.text))
        parts.append(self._rest())
        content = "".join(parts)
        message: Json = {"role": "assistant", "content": content or (None if self._calls else ""), "refusal": None}
        if self._calls:
            message["tool_calls"] = [_as_tool_call(call) for call in self._calls]
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
                for delta in self._deltas(self._visible(event.text)):
                    yield self._chunk(delta)
            for delta in self._deltas(self._rest()):
                yield self._chunk(delta)
            yield self._chunk({}, finish_reason=self._finish_reason(finished))
            if include_usage:
                yield event_frame(
                    {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(finished)}
                )
            yield b"data: [DONE]\n\n"
        except SlmregError as error:
            yield event_frame(error_body(error))
        except Exception as error:
            log.exception("stream.bug")
            yield event_frame(error_body(GenerationFailed(f"slmreg failed on this answer: {type(error).__name__}.")))

    def _visible(self, text: str) -> str:
        """The part of ``text`` that is not a tool call; calls are put aside."""
        if self._tools is None:
            return text
        visible, calls = self._tools.feed(text)
        self._calls += calls
        return visible

    def _rest(self) -> str:
        if self._tools is None:
            return ""
        visible, calls = self._tools.flush()
        self._calls += calls
        return visible

    def _deltas(self, visible: str) -> list[Json]:
        deltas: list[Json] = [{"content": visible}] if visible else []
        while self._announced < len(self._calls):
            index = self._announced
            deltas.append({"tool_calls": [{"index": index, **_as_tool_call(self._calls[index])}]})
            self._announced += 1
        return deltas

    def _finish_reason(self, finished: Finished | None) -> str:
        if self._calls and finished is not None and finished.finish_reason == "stop":
            return "tool_calls"
        return finished.finish_reason if finished is not None else "stop"

    def _usage(self, finished: Finished | None) -> Json:
        prompt = self._answer.prompt_tokens
        completion = finished.completion_tokens if finished is not None else 0
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._answer.name}

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event_frame({**self._head("chat.completion.chunk"), "choices": [choice]})


def _as_tool_call(call: ToolCall) -> Json:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json},
    }


def _openai_model(model: Model, record: bytes) -> bytes:
    """OpenAI's four keys, and our ``record`` of the model in a key of its own."""
    owner = "slmreg-demo" if model.is_demo else (model.publisher or str(model.source))
    names = (encode(model.id), encode(owner))
    return b'{"id":%b,"object":"model","created":0,"owned_by":%b,"slmreg":%b}' % (*names, record)
