"""Foundry Local's routes, over a catalog and a pool that remember what they were told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from daemon.api.errors import install_error_handlers
from daemon.api.foundry import foundry_router, foundry_sessions_router
from daemon.catalog import Catalog
from daemon.endpoints import EVERY, Endpoint
from daemon.loads import Loads
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.resolving import Resolved
from registry.errors import ModelNotFound
from registry.model import Device, ExecutionProvider, Model, Root, Source, Status, Task
from tests.daemon.api.test_sessions import SESSION
from tests.fakes import a_model, on_loop

PLAN = LoadPlan(context_tokens=1024, threads=2, need_bytes=1000, keep_alive_s=44.0)
MODELS = (
    a_model("m", publisher="Microsoft", license="MIT", size_bytes=1024 * 1024 + 1, max_output_tokens=512),
    a_model(
        "seer",
        tasks=(Task.CHAT, Task.VISION, Task.TOOLS),
        execution_provider=ExecutionProvider.CUDA,
        device=Device.GPU,
    ),
    a_model("broken", status=Status.INVALID),
)
ROOTS = (
    Root(Path("/gone"), Source.FOUNDRY, exists=False),
    Root(Path("/models"), Source.FOLDER),
    Root(Path("/foundry"), Source.FOUNDRY),
)


class Known:
    def __init__(self, roots: tuple[Root, ...] = ROOTS) -> None:
        self._roots = roots

    def models(self, *, include_missing: bool) -> tuple[Model, ...]:
        assert not include_missing
        return MODELS

    def roots(self) -> tuple[Root, ...]:
        return self._roots

    def requested(self, reference: str) -> tuple[Model, ...]:
        return tuple(model for model in MODELS if reference in (model.name, model.id))

    def resolve(self, reference: str, *, serves: Endpoint) -> Resolved:
        assert serves is EVERY
        found = self.requested(reference)
        if not found:
            raise ModelNotFound(reference)
        return Resolved(found[0], PLAN)


class Remembering:
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.sessions = (
            SESSION,
            replace(SESSION, model_id="late:1", state=SessionState.LOADING),
        )

    def snapshot(self) -> Any:
        return self.sessions

    async def load(self, model: Model, plan: LoadPlan) -> None:
        self.told.append(("load", model.id, plan.keep_alive_s))

    async def unload(self, model_id: str, *, at_once: bool, only_unused: bool) -> bool:
        assert not at_once
        assert not only_unused
        self.told.append(("unload", model_id))
        return model_id == "m:1"


async def call(method: str, path: str, pool: Remembering | None = None, known: Known | None = None) -> httpx.Response:
    app = FastAPI()
    install_error_handlers(app)
    catalog = cast(Catalog, known or Known())
    app.include_router(foundry_router(catalog))
    sessions = cast(SessionPool, pool or Remembering())
    app.include_router(foundry_sessions_router(catalog, Loads(catalog, sessions), sessions))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:7567") as client:
        return await client.request(method, path)


@on_loop
async def test_the_status_says_where_it_is_and_where_its_models_are() -> None:
    old, new = await call("GET", "/openai/status"), await call("GET", "/status")
    assert old.json() == {"endpoints": ["http://127.0.0.1:7567"], "modelDirPath": "/foundry", "pipeName": None}
    assert set(new.json()) == {"endpoints", "modelCachePath", "pid"}
    for roots, folder in ((ROOTS[:2], "/models"), (ROOTS[:1], None)):
        assert (await call("GET", "/status", known=Known(roots))).json()["modelCachePath"] == folder


@on_loop
async def test_only_what_can_be_used_is_listed_and_only_what_is_ready_as_loaded() -> None:
    assert (await call("GET", "/openai/models")).json() == ["m:1", "seer:1"]
    for path in ("/openai/loadedmodels", "/models/loaded"):
        assert (await call("GET", path)).json() == ["m:1"]


@on_loop
async def test_the_catalog_has_the_keys_that_foundrys_sdk_demands() -> None:
    first, second = (await call("GET", "/foundry/list")).json()
    assert set(first) >= {
        *("name", "displayName", "modelType", "providerType", "uri", "version", "promptTemplate", "publisher", "task"),
        *("runtime", "fileSizeMb", "modelSettings", "alias", "supportsToolCalling", "license", "licenseDescription"),
        *("parentModelUri", "maxOutputTokens", "minFLVersion"),
    }
    assert (first["name"], first["alias"], first["version"], first["publisher"]) == ("m:1", "m", "1", "Microsoft")
    assert (first["fileSizeMb"], first["maxOutputTokens"], first["task"]) == (2, 512, "chat-completion")
    assert first["runtime"] == {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}
    assert second["runtime"] == {"deviceType": "GPU", "executionProvider": "CUDAExecutionProvider"}
    assert (second["task"], second["supportsToolCalling"], second["maxOutputTokens"]) == (
        *("vision-language-chat", True, 4096),
    )


@pytest.mark.parametrize("start", ["/openai", "/models"])
@on_loop
async def test_a_model_is_loaded_and_unloaded_by_post(start: str) -> None:
    pool = Remembering()
    answers = [
        await call("POST", f"{start}/load/m?ttl=5", pool),
        await call("POST", f"{start}/load/seer:1?ep=cuda", pool),
        await call("POST", f"{start}/unload/m?force=true", pool),
        await call("POST", f"{start}/unload/seer", pool),
    ]
    assert [answer.json()["status"] for answer in answers] == ["already_loaded", "loaded", "unloaded", "not_loaded"]
    assert pool.told == [("load", "m:1", 5.0), ("load", "seer:1", 44.0), ("unload", "m:1"), ("unload", "seer:1")]


@pytest.mark.parametrize("path", ["/openai/load/m", "/models/load/m", "/openai/unload/m", "/models/unload/m"])
@on_loop
async def test_get_changes_nothing_and_says_what_to_send(path: str) -> None:
    pool = Remembering()
    response = await call("GET", path, pool)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "send a POST to the same path" in response.json()["error"]["message"]
    assert pool.told == []


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/openai/load/m?ep=cuda", 400, "ep"),
        ("/openai/load/m?ttl=-1", 400, "ttl"),
        ("/openai/load/m?ttl=nan", 400, "ttl"),
        ("/openai/load/nothing", 404, "model"),
        ("/openai/unload/nothing", 404, "model"),
    ],
)
@on_loop
async def test_what_cannot_be_done_is_refused_by_name(path: str, status: int, param: str) -> None:
    pool = Remembering()
    response = await call("POST", path, pool)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert pool.told == []
