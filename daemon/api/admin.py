"""``/slmreg``: the registry, the selector and the sessions, for apps and for our own command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from daemon.admin import Admin
from daemon.api.admin_bodies import EvaluationBody, LoadBody, ModelBody, ModelsQuery, PinBody, SelectBody, UnloadBody
from daemon.api.streaming import json_list
from daemon.listing import encode
from daemon.loads import Loads
from daemon.pool.pool import SessionPool
from daemon.shapes import Json, session_json, tuning_report_json
from daemon.tuner import Tuner

FORCED = (
    "It was loaded although the estimate says that it does not fit: the machine may swap, and the system may end it."
)


def registry_router(admin: Admin, status: Callable[[], Json]) -> APIRouter:
    """What is here. Plain functions: they touch the disk, and run in threads off the event loop.

    There is no route that takes a path: roots are added with the command line, by someone who may read them.
    """
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/status")
    def get_status() -> Json:
        """The process, how many models and sessions it has, and how it looks for models."""
        return status()

    @router.get("/models", response_model=None)
    def list_models(asked: Annotated[ModelsQuery, Query()]) -> Response:
        """The known models that are wanted, also missing and unusable ones; ``next`` is the offset of the next page."""
        page, total = admin.encoded_models(asked.as_query(), offset=asked.offset, limit=asked.limit)
        end = asked.offset + asked.limit
        after = end if end < total else None
        records = ([record for _model, record in part] for part in page)
        return json_list(
            b'{"data":[',
            records,
            b'],"total":%b,"next":%b}' % (encode(total), encode(after)),
        )

    @router.get("/models/{reference:path}")
    def get_model(reference: str) -> Json:
        """Everything about one model, by id, name or alias, also what was predicted and measured of it."""
        return admin.model(reference)

    @router.get("/problems")
    def list_problems() -> Json:
        """Folders that are not usable models, and what to do about each."""
        return {"data": admin.problems()}

    @router.post("/scan")
    def scan() -> Json:
        """Look at every place where models may be, now, and say what has changed."""
        return admin.scan()

    @router.get("/roots")
    def list_roots() -> Json:
        """Every place where models are looked for; the command line adds some."""
        return {"data": admin.roots()}

    @router.get("/hardware")
    def hardware() -> Json:
        """The machine: cores, memory and its limits, accelerators, execution providers, disks."""
        return admin.hardware()

    return router


def choice_router(admin: Admin) -> APIRouter:
    """Which model is chosen, why, and what people say about that. Plain functions, as above."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.post("/select")
    def select(body: SelectBody) -> Json:
        """Which model is best for a task on this machine now, and why; nothing is loaded."""
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
        """The last choices that were made for requests, newest first."""
        return {"data": admin.selections(limit)}

    @router.get("/selections/{selection_id}")
    def get_selection(selection_id: str) -> Json:
        """One of them with its whole ledger, as it was then."""
        return admin.selection(selection_id)

    @router.get("/pins")
    def list_pins() -> Json:
        """Which model a task always gets, and whether that can serve now."""
        return {"data": admin.pins()}

    @router.post("/pins")
    def pin(body: PinBody) -> Json:
        """From now on a task gets this model, and no other in silence."""
        return admin.pin(body.task, body.model, fallback=body.fallback)

    @router.delete("/pins/{task}")
    def unpin(task: str) -> Json:
        """From now on slmreg chooses for this task."""
        admin.unpin(task)
        return {"unpinned": task}

    @router.get("/evaluations")
    def list_evaluations() -> Json:
        """What people and tests say about models."""
        return {"data": admin.evaluations()}

    @router.post("/evaluations")
    def evaluate(body: EvaluationBody) -> Json:
        """Say how well a model does a task here: a rating, or how many items of a test it passed."""
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
        """Forget what was said about a model, or what was said for one task."""
        return admin.forget_evaluations(reference, task)

    return router


def tune_router(tuner: Tuner) -> APIRouter:
    """How models run best here."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.post("/tune")
    async def tune(body: ModelBody) -> Json:
        """Measure how a model runs best here, and use that from the next load on. It takes some tens of seconds."""
        return tuning_report_json(await tuner.tune(body.model))

    @router.delete("/tune/{reference:path}")
    async def forget(reference: str) -> Json:
        """Forget what was measured: the next load is as for any model."""
        model_id, was_there = await tuner.forget(reference)
        return {"id": model_id, "forgotten": was_there}

    return router


def sessions_router(loads: Loads, pool: SessionPool) -> APIRouter:
    """What is loaded."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/sessions")
    async def sessions() -> list[Json]:
        """What is loaded, on its way, or has failed."""
        return [session_json(session) for session in pool.snapshot()]

    @router.post("/load")
    async def load(body: LoadBody) -> Json:
        """Load a model ahead of its first request, and come back when it is ready."""
        resolved = await loads.load(
            body.model, keep_alive=body.keep_alive, is_forced=body.force, is_kept=body.pin_loaded
        )
        session = next(session_json(s) for s in pool.snapshot() if s.model_id == resolved.model.id)
        return {**session, "warning": FORCED if resolved.plan.is_forced else None}

    @router.post("/unload")
    async def unload(body: UnloadBody) -> Json:
        """Unload a model when its answers are done, or at once."""
        model_id, is_unloaded = await loads.unload(body.model, at_once=body.now)
        return {"id": model_id, "unloaded": is_unloaded}

    return router
