"""POST /v1/audio/transcriptions and /v1/audio/translations, as OpenAI has them: a form with a file.

Invariant: what would need times (subtitles, words, segments) is refused by name, because no times are made.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from daemon import lenience
from daemon.answers import Answer, Answers
from daemon.api.fields import without_neutral
from daemon.api.headers import answer_headers, wishes_in
from daemon.api.streaming import CLIENT_LEFT, DONE, ClientLeft, EventStream, ending_in_words, event_frame, or_leave
from daemon.pool.protocol import Finished, Transcribe
from daemon.shapes import Json
from daemon.wants import Wants
from registry.errors import InvalidRequest
from registry.model import Task
from selector.policy import Policy

_Form = TypeVar("_Form", bound="TranslationForm")

TRANSCRIPTIONS_PATH, TRANSLATIONS_PATH = "/v1/audio/transcriptions", "/v1/audio/translations"
MAX_FIELDS = 32
MAX_PROMPT_CHARACTERS = 10_000
# What would need times, or an engine feature we lack, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[str, ...]] = {
    "response_format": ("json", "text"),
    "timestamp_granularities": (),
    "include": (),
    "chunking_strategy": ("auto",),
    "known_speaker_names": (),
    "known_speaker_references": (),
}


# Of these, what changes no word.
_HINTS = frozenset({"chunking_strategy"})


class TranslationForm(BaseModel):
    """OpenAI's fields beside the file, with ``policy`` for the choice of ``auto``. Values of forms are text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("auto", min_length=1, max_length=512)
    prompt: str = Field("", max_length=MAX_PROMPT_CHARACTERS)
    response_format: Literal["json", "text"] = "json"
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    policy: Policy | None = None


class TranscriptionForm(TranslationForm):
    language: str | None = Field(None, pattern="^[a-z]{2,3}$", description="ISO 639-1 code")
    stream: bool = False


def audio_router(answers: Answers) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post(TRANSCRIPTIONS_PATH, response_model=None)
    async def transcriptions(request: Request) -> Response:
        """Write down what is said in a file."""
        fields, audio = await _read_form(request)
        form = _validated(TranscriptionForm, fields)
        ask = _transcribe(audio, form, task="transcribe", language=form.language)
        return await _respond(answers, request, form, ask, is_stream=form.stream)

    @router.post(TRANSLATIONS_PATH, response_model=None)
    async def translations(request: Request) -> Response:
        """Write down in English what is said in a file."""
        fields, audio = await _read_form(request)
        form = _validated(TranslationForm, fields)
        return await _respond(answers, request, form, _transcribe(audio, form, task="translate"), is_stream=False)

    return router


# -- what comes in


async def _read_form(request: Request) -> tuple[dict[str, str], bytes]:
    """The fields of a form, and the file in it. Raises InvalidRequest, UnsupportedParameter."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("Send the file as multipart/form-data, in the field 'file'.", param="file")
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise InvalidRequest(f"The form cannot be read: {error.detail}") from error
    try:
        fields = {name.removesuffix("[]"): value for name, value in form.multi_items() if isinstance(value, str)}
        files = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
        audio = await files["file"].read() if files.keys() == {"file"} else b""
    finally:
        await form.close()
    if not audio:
        raise InvalidRequest("There is no audio: the field 'file' must hold one.", param="file")
    neutral = without_neutral(fields, _NEUTRAL, _HINTS)
    form_of = {"response_format": fields["response_format"]} if "response_format" in fields else {}
    return {**neutral, **form_of}, audio


def _validated(kind: type[_Form], fields: dict[str, str]) -> _Form:
    """Raises RequestValidationError, as a JSON body does."""
    known = {name: value for name, value in fields.items() if name in kind.model_fields or not lenience.leave_out(name)}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from error


def _transcribe(audio: bytes, form: TranslationForm, *, task: str, language: str | None = None) -> Transcribe:
    return Transcribe(
        request_id=uuid.uuid4().hex,
        audio=base64.b64encode(audio).decode("ascii"),
        language=language,
        task=task,
        prompt=form.prompt,
        temperature=form.temperature,
    )


# -- what goes out


async def _respond(
    answers: Answers, request: Request, form: TranslationForm, ask: Transcribe, *, is_stream: bool
) -> Response:
    wants = Wants(task=Task.TRANSCRIPTION, policy=wishes_in(request.headers).policy or form.policy)
    try:
        answer = await or_leave(answers.transcribe(form.model, ask, wants), request.receive)
    except ClientLeft:
        return Response(status_code=CLIENT_LEFT)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(answer)
        headers = answer_headers(answer.name, answer.task, answer.decision_id)
        if is_stream:
            response = EventStream(ending_in_words(_frames(answer)), close=answer.aclose, headers=headers)
            stack.pop_all()  # the response closes the answer
            return response
        try:
            text, usage = await or_leave(_whole(answer), request.receive)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
    if form.response_format == "text":
        return PlainTextResponse(f"{text}\n", headers=headers)
    return JSONResponse({"text": text, "usage": usage}, headers=headers)


async def _whole(answer: Answer) -> tuple[str, Json]:
    parts: list[str] = []
    finished: Finished | None = None
    async for event in answer:
        if isinstance(event, Finished):
            finished = event
        else:
            parts.append(event.text)
    return "".join(parts).rstrip(), _usage(answer, finished)


async def _frames(answer: Answer) -> AsyncIterator[bytes]:
    """The text as server-sent events, ending with the whole of it."""
    parts: list[str] = []
    finished: Finished | None = None
    async for event in answer:
        if isinstance(event, Finished):
            finished = event
        else:
            parts.append(event.text)
            yield event_frame({"type": "transcript.text.delta", "delta": event.text})
    done: dict[str, Any] = {"type": "transcript.text.done", "text": "".join(parts)}
    yield event_frame({**done, "usage": _usage(answer, finished)})
    yield DONE


def _usage(answer: Answer, finished: Finished | None) -> Json:
    asked, written = answer.prompt_tokens, finished.completion_tokens if finished is not None else 0
    return {"type": "tokens", "input_tokens": asked, "output_tokens": written, "total_tokens": asked + written}
