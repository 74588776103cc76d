"""``/slmreg``: the registry, the selector and the sessions, for apps and for our own command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.admin import MOST_NOTES, Admin
from daemon.api.fields import KeepAliveField
from daemon.api.streaming import json_list
from daemon.bounds import MAX_BYTES, MAX_CONTEXT_TOKENS, MAX_SECONDS
from daemon.listing import encode
from daemon.loads import Loads
from daemon.pool.pool import SessionPool
from daemon.shapes import Json, session_json, tuning_report_json
from daemon.tuner import Tuner
from registry.model import Fallback
from selector.policy import Policy

FORCED = (
    "It was loaded although the estimate says that it does not fit: the machine may swap, and the system may end it."
)

MAX_PAGE = 100_000
MAX_NAME = 512

Globs = Annotated[tuple[Annotated[str, Field(max_length=MAX_NAME)], ...], Field(max_length=100)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SelectBody(Body):
    """What a choice has to meet; see ``selector.selection.SelectionRequest``."""

    task: str
    context_tokens: int | None = Field(None, ge=1, le=MAX_CONTEXT_TOKENS, description="prompt and answer together")
    tools: bool = Field(False, description="only models that can call tools")
    vision: bool = Field(False, description="only models that take images")
    json_output: bool = Field(False, alias="json", description="only models that can write JSON")
    language: str | None = Field(None, pattern="^[a-z]{2}$", description="ISO 639-1 code of a language it has to know")
    max_memory_bytes: int | None = Field(None, ge=0, le=MAX_BYTES, description="the most that it may need")
    deadline_s: float | None = Field(
        None, gt=0, le=MAX_SECONDS, allow_inf_nan=False, description="the most that a whole answer may take"
    )
    allow: Globs = Field((), description="globs of the only models that count")
    deny: Globs = Field((), description="globs of models that do not count")
    thinking: bool | None = Field(None, description="only models that do, or do not, reason before they answer")
    policy: Policy | None = Field(None, description="what waiting weighs against quality")
    limit: int | None = Field(None, ge=0, description="so much of the ranking and of what was rejected; absent: all")


class PinBody(Body):
    task: str
    model: str = Field(max_length=MAX_NAME, description="an id, name, alias, or a glob: the newest that fits it")
    fallback: Fallback = Field(Fallback.ERROR, description="when it cannot serve: an error, or what slmreg chooses")


class EvaluationBody(Body):
    """A rating, or ``passed`` items ``of`` so many."""

    model: str
    task: str
    rating: int | None = Field(None, strict=True, description="from 1 (useless) to 5 (perfect)")
    passed: int | None = Field(None, strict=True, description="items of a test that were passed")
    of: int | None = Field(None, strict=True, description="items of the test")
    thinking: bool | None = Field(None, description="whether it reasoned before it answered")
    notes: str = Field("", max_length=MOST_NOTES)


class ModelBody(Body):
    model: str


class LoadBody(ModelBody):
    force: bool = Field(False, description="load it although the estimate says that it does not fit")
    pin_loaded: bool = Field(False, description="keep it in memory until it is unloaded, whatever else needs room")
    keep_alive: KeepAliveField | None = Field(
        None,
        description='how long it stays unused: seconds, "5m", 0, -1 (for ever); absent: as the settings say',
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> LoadBody:
        if self.pin_loaded and self.keep_alive is not None:
            raise ValueError("what is pinned in memory stays; leave out keep_alive or pin_loaded")
        return self


class UnloadBody(ModelBody):
    now: bool = Field(False, description="break off running answers instead of waiting for their ends")


def registry_router(admin: Admin, status: Callable[[], Json]) -> APIRouter:
    """What is here. Plain functions: they touch the disk, and run in threads off the event loop.

    There is no route that takes a path: roots are added with the command line, by someone who may read them.
    """
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/status")
    def get_status() -> Json:
        return status()

    @router.get("/models", response_model=None)
    def list_models(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE, offset: Annotated[int, Query(ge=0)] = 0
    ) -> Response:
        page, total = admin.encoded_models(offset=offset, limit=limit)
        after = offset + limit if offset + limit < total else None
        records = ([record for _model, record in part] for part in page)
        return json_list(b'{"data":[', records, b'],"total":%b,"next":%b}' % (encode(total), encode(after)))

    @router.get("/models/{reference:path}")
    def get_model(reference: str) -> Json:
        return admin.model(reference)

    @router.get("/problems")
    def list_problems() -> Json:
        return {"data": admin.problems()}

    @router.post("/scan")
    def scan() -> Json:
        return admin.scan()

    @router.get("/roots")
    def list_roots() -> Json:
        return {"data": admin.roots()}

    @router.get("/hardware")
    def hardware() -> Json:
        return admin.hardware()

    return router


def choice_router(admin: Admin) -> APIRouter:
    """Which model is chosen, why, and what people say about that. Plain functions, as above."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.post("/select")
    def select(body: SelectBody) -> Json:
        return admin.select(
            body.task,
            limit=body.limit,
            context_tokens=body.context_tokens,
            needs_tools=body.tools,
            needs_vision=body.vision,
            needs_json=body.json_output,
            language=body.language,
            max_memory_bytes=body.max_memory_bytes,
            deadline_s=body.deadline_s,
            allow=body.allow,
            deny=body.deny,
            thinking=body.thinking,
            policy=body.policy,
        )

    @router.get("/selections")
    def list_selections(limit: Annotated[int, Query(ge=1, le=10_000)] = 20) -> Json:
        return {"data": admin.selections(limit)}

    @router.get("/selections/{selection_id}")
    def get_selection(selection_id: str) -> Json:
        return admin.selection(selection_id)

    @router.get("/pins")
    def list_pins() -> Json:
        return {"data": admin.pins()}

    @router.post("/pins")
    def pin(body: PinBody) -> Json:
        return admin.pin(body.task, body.model, fallback=body.fallback)

    @router.delete("/pins/{task}")
    def unpin(task: str) -> Json:
        admin.unpin(task)
        return {"unpinned": task}

    @router.get("/evaluations")
    def list_evaluations() -> Json:
        return {"data": admin.evaluations()}

    @router.post("/evaluations")
    def evaluate(body: EvaluationBody) -> Json:
        return admin.evaluate(
            body.model,
            body.task,
            rating=body.rating,
            passed=body.passed,
            items=body.of,
            thinking=body.thinking,
            notes=body.notes,
        )

    @router.delete("/evaluations/{reference:path}")
    def forget_evaluations(reference: str, task: str | None = None) -> Json:
        return admin.forget_evaluations(reference, task)

    return router


def tune_router(tuner: Tuner) -> APIRouter:
    """How models run best here."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.post("/tune")
    async def tune(body: ModelBody) -> Json:
        return tuning_report_json(await tuner.tune(body.model))

    @router.delete("/tune/{reference:path}")
    async def forget(reference: str) -> Json:
        model_id, was_there = await tuner.forget(reference)
        return {"id": model_id, "forgotten": was_there}

    return router


def sessions_router(loads: Loads, pool: SessionPool) -> APIRouter:
    """What is loaded."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/sessions")
    async def sessions() -> list[Json]:
        return [session_json(session) for session in pool.snapshot()]

    @router.post("/load")
    async def load(body: LoadBody) -> Json:
        resolved = await loads.load(
            body.model, keep_alive=body.keep_alive, is_forced=body.force, is_kept=body.pin_loaded
        )
        session = next(session_json(s) for s in pool.snapshot() if s.model_id == resolved.model.id)
        return {**session, "warning": FORCED if resolved.plan.is_forced else None}

    @router.post("/unload")
    async def unload(body: UnloadBody) -> Json:
        model_id, is_unloaded = await loads.unload(body.model, at_once=body.now)
        return {"id": model_id, "unloaded": is_unloaded}

    return router
